"""VITAL: vision and motion encoders whose tokens a language model reads, and a score from its five level words.

Follows arXiv 2511.17962. The image encoder and the decoder are transformers' own models; here is how they meet. What
people ask of a model, scores first of all, is in `assessment_vital`.
"""

import os
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoModel,
    AutoModelForImageTextToText,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling
from transformers.utils import can_return_tuple

from .assembly_vital import assemble, load_whole
from .assessment_vital import VitalAssessmentMixin
from .attention_vital import prefer_heads
from .configuration_vital import VitalConfig
from .conventions_vital import scoring_convention
from .motion_vital import VitalMotionModel, let_norms_have_two_dtypes, still_frozen_norms
from .outputs_vital import CACHE_NAME, VitalCausalLMOutputWithPast, VitalOutputWithPast
from .processing_vital import VitalProcessor
from .zoo_names_vital import from_zoo


# Without gradients the image encoder takes no more at once, so that memory does not grow with the batch.
_PIXELS_AT_ONCE = 8 * 448**2
_MEDIA_INPUTS = ("pixel_values", "motion_values", "motion_lengths", "image_hidden_states", "motion_hidden_states")


class VitalPreTrainedModel(PreTrainedModel):
    """Base of all VITAL models: configuration class and the abilities that the parts allow."""

    config_class: Any = VitalConfig
    base_model_prefix = "model"
    input_modalities: tuple[str, ...] = ("image", "video", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement: Any = ["past_key_values", "cache"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Loads a checkpoint from a name of the zoo, a folder or a Hub id.

        See `PreTrainedModel.from_pretrained` for the other arguments.

        Weights are read from safetensors alone: a pickle can hold code. `vital convert` reads pickles that hold
        nothing but tensors, and writes safetensors.

        Raises:
            ValueError: for `use_safetensors=False`, for what is no name of the zoo, no path and no Hub id, for a model
                of another type, and for a checkpoint that lacks weights, unless `output_loading_info=True` asks which.
            OSError: for a folder whose weights are pickles.
        """
        if kwargs.setdefault("use_safetensors", True) is False:
            raise ValueError("Weights in pickles are not loaded: turn them into safetensors with `vital convert`.")
        source = from_zoo(pretrained_model_name_or_path, vital=True)
        if source is not None and os.path.isdir(source):
            source = os.path.abspath(source)  # the processor is read later, maybe from another working directory
        return load_whole(super().from_pretrained, source, *args, **kwargs)

    @property
    def device(self) -> torch.device:
        """`torch.device`: where inputs go: where the weights are, or what runs them where they are offloaded."""
        device = super().device
        if device.type != "meta":
            return device
        running = [d for d in getattr(self, "hf_device_map", {}).values() if str(d) not in ("cpu", "disk")]
        return torch.device(running[0] if running else "cpu" if hasattr(self, "hf_device_map") else device)


class VitalProjector(nn.Module):
    """Maps encoder features to the decoder's width: LayerNorm, Linear, activation, Linear."""

    def __init__(self, in_features: int, hidden_size: int, hidden_act: str):
        super().__init__()
        self.layer_norm = nn.LayerNorm(in_features)
        self.linear_1 = nn.Linear(in_features, hidden_size)
        self.act = ACT2FN[hidden_act]
        self.linear_2 = nn.Linear(hidden_size, hidden_size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(..., in_features)` to `(..., hidden_size)`."""
        return self.linear_2(self.act(self.linear_1(self.layer_norm(features))))


class VitalModel(VitalPreTrainedModel):
    """Encoders, projectors and decoder without the language-model head."""

    def __init__(self, config: VitalConfig):
        super().__init__(config)
        if not MODEL_MAPPING[type(config.vision_config)]._supports_sdpa:
            config.vision_config._attn_implementation = "eager"  # convolutions: whatever is asked for, there is none
        self.vision_tower = AutoModel.from_config(config.vision_config)
        prefer_heads(self.vision_tower)
        let_norms_have_two_dtypes(self.vision_tower)
        if eps := getattr(config.vision_config, "qk_norm_eps", None):
            # InternViT's; transformers' encoder has 1e-6 in its code and no setting for it.
            for layer in self.vision_tower.encoder.layer:
                layer.attention.q_norm.variance_epsilon = layer.attention.k_norm.variance_epsilon = eps
        self.motion_encoder = VitalMotionModel._from_config(config.motion_config)
        self.language_model = AutoModel.from_config(config.text_config)
        hidden_size = config.text_config.hidden_size
        unshuffled = config.vision_hidden_size * round(1 / config.downsample_ratio) ** 2
        self.multi_modal_projector = VitalProjector(unshuffled, hidden_size, config.projector_hidden_act)
        self.motion_projector = VitalProjector(
            config.motion_config.hidden_size, hidden_size, config.projector_hidden_act
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The decoder's token embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module):
        """Replaces the decoder's token embedding."""
        self.language_model.set_input_embeddings(value)

    @can_return_tuple
    def get_image_features(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """Tiles to image tokens, in the form of transformers' multimodal models.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(num_tiles, 3, tile_size, tile_size)`): normalised tiles.
            kwargs: go to the image encoder: `output_hidden_states`, for example.

        Returns:
            `BaseModelOutputWithPooling`: the image encoder's output, with the image tokens
            `(num_tiles, image_seq_length, hidden_size)` as `pooler_output`. [`encode_tiles`] gives these alone, and
            bounds the memory it takes.
        """
        outputs = self._encode(pixel_values, **kwargs)
        tokens = self._project(outputs.last_hidden_state)
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=tokens,
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
        )

    def encode_tiles(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Tiles to image tokens, some at a time, and none twice.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(num_tiles, 3, tile_size, tile_size)`): normalised tiles.

        Returns:
            `torch.FloatTensor` of shape `(num_tiles, image_seq_length, hidden_size)`.
        """
        # Released checkpoints are shown a single tile twice, a still clip one frame many times: once is enough. The
        # host waits for this answer, before anything is begun that would be waited for with it.
        repeats = (pixel_values[1:] == pixel_values[:-1]).flatten(1).all(-1)
        if pixel_values.requires_grad:  # each tile has a gradient of its own
            repeats = torch.zeros_like(repeats)
        first = ~torch.cat([repeats.new_zeros(1), repeats])
        distinct = pixel_values if first.all() else pixel_values[first]
        tiles_at_once = max(1, pixels_at_once(pixel_values.device) // pixel_values[0, 0].numel())
        chunks = [distinct] if torch.is_grad_enabled() else distinct.split(tiles_at_once)
        tokens = [self._project(self._encode(chunk).last_hidden_state) for chunk in chunks]
        return _take(torch.cat(tokens), first.cumsum(0) - 1)

    def _encode(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutput:
        still_frozen_norms(self.vision_tower)
        pixel_values = pixel_values.to(self.vision_tower.dtype)
        if pixel_values.device.type == "cpu" and not torch.is_grad_enabled():
            # The order in memory that a CPU's convolutions are fastest in: they hand it on from layer to layer.
            pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        return self.vision_tower(pixel_values=pixel_values, return_dict=True, **kwargs)

    def _project(self, features: torch.Tensor) -> torch.Tensor:
        features = pixel_unshuffle(feature_map(features), round(1 / self.config.downsample_ratio)).flatten(1, 2)
        return self.multi_modal_projector(features)

    def get_motion_features(
        self, motion_values: torch.Tensor, motion_lengths: torch.Tensor | list[int]
    ) -> torch.Tensor:
        """Windows of frames to motion tokens, one a frame.

        Args:
            motion_values (`torch.FloatTensor` of shape `(num_frames, 3, height, width)`): frames of all windows in
                order.
            motion_lengths (`torch.LongTensor` of shape `(num_windows,)`): frames of each window; sums to `num_frames`.

        Returns:
            `torch.FloatTensor` of shape `(num_frames, hidden_size)`.
        """
        windows = self.motion_encoder.encode_windows(motion_values, motion_lengths)
        if self.config.motion_token_layout == "channel_major":
            windows = [window.T.reshape(window.shape) for window in windows]
        return self.motion_projector(torch.cat(windows))

    def get_placeholder_mask(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor,
        image_features: torch.Tensor | None = None,
        motion_features: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Finds the placeholders that visual tokens replace.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): text with
                placeholders; without it they are found by their embeddings.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`): text embeddings.
            image_features (`torch.FloatTensor` of shape `(..., hidden_size)`, *optional*): image tokens.
            motion_features (`torch.FloatTensor` of shape `(..., hidden_size)`, *optional*): motion tokens.

        Returns:
            `tuple[torch.BoolTensor, torch.BoolTensor]`: where image tokens and where motion tokens go,
            `(batch_size, sequence_length, 1)`; `None` for features that are not given.

        Raises:
            ValueError: if the numbers of placeholders and of visual tokens differ.
        """
        found = self._count_placeholders(
            input_ids, inputs_embeds, image_features is not None, motion_features is not None
        )
        return self._checked_masks(found, image_features, motion_features)

    def _count_placeholders(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor, images: bool, motion: bool
    ) -> list[tuple[torch.Tensor | None, int]]:
        """Mask and number of the placeholders of each kind that is there. The host waits for the numbers."""
        found: list[tuple[torch.Tensor | None, int]] = []
        for wanted, token_id in ((images, self.config.image_token_id), (motion, self.config.motion_token_id)):
            mask = self.find_placeholders(input_ids, inputs_embeds, token_id).unsqueeze(-1) if wanted else None
            found.append((mask, 0 if mask is None else int(mask.sum())))
        return found

    def _checked_masks(
        self,
        found: list[tuple[torch.Tensor | None, int]],
        image_features: torch.Tensor | None,
        motion_features: torch.Tensor | None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        names, features = ("image", "motion"), (image_features, motion_features)
        for name, (mask, written), given in zip(names, found, features, strict=True):
            if mask is not None and given is not None and written != (count := given.flatten(0, -2).shape[0]):
                raise ValueError(
                    f"{written} {name} placeholders in the text but {count} {name} tokens from the encoder. Prepare "
                    "text and media in one call of the checkpoint's own processor."
                )
        (image_mask, _), (motion_mask, _) = found
        return image_mask, motion_mask

    def find_placeholders(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, token_id: int
    ) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(batch_size, sequence_length)`: a token, by its id or else by its embedding."""
        if input_ids is not None and (inputs_embeds is None or input_ids.shape[1] == inputs_embeds.shape[1]):
            return input_ids == token_id if inputs_embeds is None else (input_ids == token_id).to(inputs_embeds.device)
        if inputs_embeds is None:
            raise ValueError("Give `input_ids` or `inputs_embeds`.")
        token = torch.tensor(token_id, device=inputs_embeds.device)
        return (inputs_embeds == self.get_input_embeddings()(token).to(inputs_embeds)).all(-1)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        motion_values: torch.Tensor | None = None,
        motion_lengths: torch.Tensor | list[int] | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        image_hidden_states: torch.Tensor | None = None,
        motion_hidden_states: torch.Tensor | None = None,
        tile_index: torch.Tensor | None = None,
        frame_index: torch.Tensor | None = None,
        cache: Cache | None = None,
        **kwargs,
    ) -> VitalOutputWithPast:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): text with placeholders.
            pixel_values (`torch.FloatTensor` of shape `(num_tiles, 3, tile_size, tile_size)`): tiles of the whole
                batch.
            motion_values (`torch.FloatTensor` of shape `(num_frames, 3, height, width)`): motion frames of the whole
                batch.
            motion_lengths (`torch.LongTensor` of shape `(num_windows,)`): frames of each motion window.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`): 0 where padded.
            position_ids, past_key_values, inputs_embeds: as in any causal model of transformers.
            cache (`Cache`, *optional*): `past_key_values` by its name from transformers 5.24 on; both names are taken.
            image_hidden_states (`torch.FloatTensor` of shape `(num_tiles, image_seq_length, hidden_size)`,
                *optional*): tokens from an earlier `encode_tiles`, instead of `pixel_values`: one encoding,
                several prompts.
            motion_hidden_states (`torch.FloatTensor` of shape `(num_frames, hidden_size)`, *optional*): likewise.
            tile_index (`torch.LongTensor` of shape `(num_shown_tiles,)`, *optional*): which tile each place in the
                text shows, where several rows show the same: it is encoded once. By default each tile once, in order.
            frame_index (`torch.LongTensor` of shape `(num_shown_frames,)`, *optional*): likewise of motion frames.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of `input_ids` and `inputs_embeds`.")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        images = pixel_values is not None or image_hidden_states is not None
        motion = motion_values is not None or motion_hidden_states is not None
        # Counted before the encoders are begun, which the host would wait for with the numbers.
        found = self._count_placeholders(input_ids, inputs_embeds, images, motion)
        if pixel_values is not None:
            image_hidden_states = self.encode_tiles(pixel_values)
        if motion_values is not None:
            if motion_lengths is None:
                raise ValueError("`motion_values` need `motion_lengths` beside them.")
            motion_hidden_states = self.get_motion_features(motion_values, motion_lengths)
        if tile_index is not None:
            if image_hidden_states is None:
                raise ValueError("`tile_index` needs `pixel_values` or `image_hidden_states` beside it.")
            image_hidden_states = _take(image_hidden_states, tile_index)
        if frame_index is not None:
            if motion_hidden_states is None:
                raise ValueError("`frame_index` needs `motion_values` or `motion_hidden_states` beside it.")
            motion_hidden_states = _take(motion_hidden_states, frame_index)
        image_mask, motion_mask = self._checked_masks(found, image_hidden_states, motion_hidden_states)
        for mask, features in ((image_mask, image_hidden_states), (motion_mask, motion_hidden_states)):
            if features is not None and mask is not None:
                inputs_embeds = inputs_embeds.masked_scatter(mask, features.to(inputs_embeds))

        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **{CACHE_NAME: past_key_values if cache is None else cache},
            **kwargs,
        )
        return VitalOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=image_hidden_states,
            motion_hidden_states=motion_hidden_states,
        )


class VitalForConditionalGeneration(VitalAssessmentMixin, VitalPreTrainedModel, GenerationMixin):
    """VITAL with its language-model head: generates text, and scores pictures and clips.

    `AutoModel` gives this class, not [`VitalModel`] as in other models of transformers: a checkpoint scores with
    `AutoModel.from_pretrained` alone. The bare encoders and decoder are its `model`, or `VitalModel.from_pretrained`.

    Example:

    ```python
    >>> from transformers import AutoModel

    >>> model = AutoModel.from_pretrained("org/vital-8b", trust_remote_code=True)
    >>> photo, clip = model.score(["photo.jpg", "clip.mp4"])
    >>> photo.score, photo.std, photo.level
    ```
    """

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _processor_class = VitalProcessor
    _auto_map = {
        "AutoConfig": "configuration_vital.VitalConfig",
        "AutoModel": "modeling_vital.VitalForConditionalGeneration",
        "AutoModelForImageTextToText": "modeling_vital.VitalForConditionalGeneration",
    }

    def __init__(self, config: VitalConfig):
        super().__init__(config)
        self.model = VitalModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_parts(cls, vision, decoder, tokenizer=None, **load_kwargs) -> "VitalForConditionalGeneration":
        """Assembles the encoders of one model with the decoder of another: the paper's Zero transfer.

        Whether the two fit is checked on configurations and tokenizers, before any weights are read; then both are
        read whole.

        Args:
            vision (`str`, `Path` or `VitalForConditionalGeneration`):
                Name of the zoo, checkpoint or model whose image and motion encoder are taken, with what belongs to
                them: tiles, frame sampling, level words and values, answer prefixes.
            decoder (`str`, `Path` or `PreTrainedModel`):
                What reads. A VITAL checkpoint keeps its projectors and tokenizer, an InternVL one in transformers'
                layout its image projector and tokenizer. Any other causal language model gets fresh projectors, and
                its tokenizer the placeholders it lacks; a warning says so.
            tokenizer (`PreTrainedTokenizerBase`, *optional*):
                Tokenizer of a `decoder` that is a model, not a checkpoint, and not a VITAL model.
            load_kwargs: go to `from_pretrained`: `dtype`, for example.

        Returns:
            `VitalForConditionalGeneration`: in evaluation mode, with its processor, in the dtype of the decoder.
            Models given as such share their modules with it.

        Raises:
            ValueError: if hidden sizes, level words, tokenizer or placeholders do not match; it names both sides.
        """
        return assemble(cls, vision, decoder, tokenizer, **load_kwargs)

    def get_input_embeddings(self) -> nn.Module:
        """The decoder's token embedding."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module):
        """Replaces the decoder's token embedding."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language-model head."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module):
        """Replaces the language-model head."""
        self.lm_head = value

    def get_image_features(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """Tiles to image tokens; see [`VitalModel.get_image_features`]."""
        return self.model.get_image_features(pixel_values, **kwargs)

    def use_scoring(self, name: str) -> None:
        """Scores from here on by one of the scoring conventions; `save_pretrained` keeps the choice.

        Args:
            name (`str`): `"default"`, `"released"` or `"released_less_token"`; see `SCORING_CONVENTIONS`.

        Raises:
            ValueError: if there is no such convention.
        """
        self.processor.use_scoring(name)
        self.config.level_values = list(scoring_convention(name).level_values)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        motion_values: torch.Tensor | None = None,
        motion_lengths: torch.Tensor | list[int] | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        image_hidden_states: torch.Tensor | None = None,
        motion_hidden_states: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        cache: Cache | None = None,
        **kwargs,
    ) -> VitalCausalLMOutputWithPast:
        """
        Args:
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): ids to predict, -100
                ignored.
            logits_to_keep (`int` or `torch.LongTensor`, *optional*, defaults to 0): logits of the last so many
                positions, or of these positions; 0 is all.

        The other arguments are those of [`VitalModel`].
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            motion_values=motion_values,
            motion_lengths=motion_lengths,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values if cache is None else cache,
            inputs_embeds=inputs_embeds,
            image_hidden_states=image_hidden_states,
            motion_hidden_states=motion_hidden_states,
            return_dict=True,
            **{k: v for k, v in kwargs.items() if k != "num_items_in_batch"},
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])  # [B, L, V]
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=self.config.text_config.vocab_size,
                num_items_in_batch=kwargs.get("num_items_in_batch"),
            )
        return VitalCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
            motion_hidden_states=outputs.motion_hidden_states,
        )

    def prepare_inputs_for_generation(
        self, input_ids, past_key_values=None, inputs_embeds=None, is_first_iteration=False, cache=None, **kwargs
    ):
        """Adds the media to the first step only; later steps find their tokens in the cache."""
        inputs = super().prepare_inputs_for_generation(
            input_ids,
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            **{CACHE_NAME: past_key_values if cache is None else cache},
            **kwargs,
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in _MEDIA_INPUTS:
                inputs.pop(name, None)
        return inputs

    def _expand_inputs_for_generation(self, expand_size=1, is_encoder_decoder=False, input_ids=None, **kwargs):
        """Repeats each row for beams and samples, and its media with it: they are one flat stack for all rows."""
        media = {name: kwargs.pop(name) for name in _MEDIA_INPUTS if kwargs.get(name) is not None}
        rows, embeds = input_ids, kwargs.get("inputs_embeds")
        input_ids, kwargs = super()._expand_inputs_for_generation(expand_size, is_encoder_decoder, rows, **kwargs)
        if media and expand_size > 1:
            tiles = self.model.find_placeholders(rows, embeds, self.config.image_token_id).sum(-1)
            tiles = tiles // self.config.image_seq_length
            frames = self.model.find_placeholders(rows, embeds, self.config.motion_token_id).sum(-1)
            sizes = {"pixel_values": tiles, "image_hidden_states": tiles}
            sizes |= {"motion_values": frames, "motion_hidden_states": frames}
            if "motion_lengths" in media:
                ends = media["motion_lengths"].cumsum(0).to(frames.device)
                last = torch.searchsorted(ends, frames.cumsum(0), right=True)
                sizes["motion_lengths"] = last.diff(prepend=last.new_zeros(1))
            for name, values in media.items():
                parts = values.split(sizes[name].tolist())
                media[name] = torch.cat([part for part in parts for _ in range(expand_size)])
        return input_ids, {**kwargs, **media}


def _take(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows by their numbers, which may be on another device: a device map may put projectors elsewhere than inputs."""
    return rows[index.to(rows.device)]


def pixels_at_once(device: torch.device) -> int:
    """Pixels that the image encoder takes at once without gradients: 8 large tiles on a CPU, whose caches gain nothing
    from more, and on a CUDA device one for each GiB of its memory, at most 64 (measured: 370 tiles a second with 8 at
    once, 544 with 64)."""
    if device.type != "cuda":
        return _PIXELS_AT_ONCE
    gib = torch.cuda.get_device_properties(device).total_memory // 2**30
    return min(max(gib, 8), 64) * 448**2


def feature_map(features: torch.Tensor) -> torch.Tensor:
    """Arranges the output of an image encoder as a map of positions.

    Args:
        features (`torch.Tensor`): a transformer's `(N, 1 + side * side, C)`, its class token first, or a convolutional
            encoder's `(N, C, h, w)`.

    Returns:
        `torch.Tensor` of shape `(N, h, w, C)`, without the class token.
    """
    if features.ndim == 4:
        return features.permute(0, 2, 3, 1)
    side = int((features.shape[1] - 1) ** 0.5)
    return features[:, 1:].unflatten(1, (side, side))


def pixel_unshuffle(features: torch.Tensor, factor: int) -> torch.Tensor:
    """Trades resolution for channels, in InternVL's channel order.

    Args:
        features (`torch.Tensor` of shape `(N, h, w, C)`): feature map.
        factor (`int`): side of the block that becomes one position; 1 changes nothing.

    Returns:
        `torch.Tensor` of shape `(N, h / factor, w / factor, C * factor**2)`.
    """
    n, h, w, c = features.shape
    if h % factor or w % factor:
        raise ValueError(f"A {h} x {w} feature map cannot be unshuffled by {factor}.")
    features = features.reshape(n, h // factor, factor, w // factor, factor, c)
    return features.permute(0, 1, 3, 2, 4, 5).reshape(n, h // factor, w // factor, factor * factor * c)


VitalForConditionalGeneration.register_for_auto_class("AutoModel")
AutoModel.register(VitalConfig, VitalForConditionalGeneration, exist_ok=True)
AutoModelForImageTextToText.register(VitalConfig, VitalForConditionalGeneration, exist_ok=True)

__all__ = ["VitalForConditionalGeneration", "VitalModel", "VitalPreTrainedModel"]
