"""The linear probe: a score from the encoders alone, without a decoder.

Features of chosen layers of the image encoder and the motion encoder's feature, each averaged over an item, go through
two linear layers to the five levels. Small and fast, and a measure of how much about quality the encoders know.
Configuration, processor and model are in this one file because a checkpoint loads each from its entry file.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoProcessor, BatchFeature, PreTrainedConfig, ProcessorMixin
from transformers.utils import ModelOutput, can_return_tuple

from .assessment_vital import VitalScoringMixin
from .attention_vital import prefer_heads
from .configuration_vital import CheckpointConfigMixin, VitalMotionConfig, _as_config
from .levels_vital import LEVEL_VALUES, LEVEL_WORDS
from .modeling_vital import VitalPreTrainedModel, feature_map, pixel_unshuffle
from .motion_vital import VitalMotionModel, let_norms_have_two_dtypes, still_frozen_norms
from .preparation_vital import MediaPreparationMixin
from .processing_vital import _flatten
from .video_processing_vital import FrameSampling
from .zoo_names_vital import ZooNamesMixin


class VitalProbeConfig(CheckpointConfigMixin, PreTrainedConfig):
    """Configuration of [`VitalForQualityProbe`].

    Args:
        vision_config (`dict` or `PreTrainedConfig`, *optional*): image encoder, as in `VitalConfig`.
        motion_config (`dict` or `VitalMotionConfig`, *optional*): motion encoder, as in `VitalConfig`.
        feature_layers (`list[int]`, *optional*, defaults to `[6, 12, 18]`): layers of the image encoder (a
            transformer's layers, a convolutional encoder's stages; 0 is the first) whose outputs are the features.
            Layers behind the last of them do nothing: leave them out of `vision_config`.
        downsample_ratio (`float`, *optional*, defaults to 0.5): pixel-unshuffle factor of the features; 1 is none.
        head_hidden_size (`int`, *optional*, defaults to 128): width between the two linear layers.
        level_words (`list[str]`, *optional*): the five level words, best first.
        level_values (`list[float]`, *optional*): the value of each level in a score, as in `VitalConfig`.

    Raises:
        ValueError: if the image encoder has not all of `feature_layers`.
    """

    model_type = "vital_probe"
    sub_configs = {"vision_config": AutoConfig, "motion_config": VitalMotionConfig}

    def __init__(
        self,
        vision_config=None,
        motion_config=None,
        feature_layers=(6, 12, 18),
        downsample_ratio=0.5,
        head_hidden_size=128,
        level_words=LEVEL_WORDS,
        level_values=LEVEL_VALUES,
        **kwargs,
    ):
        self.vision_config = _as_config(vision_config, "internvl_vision", attention_bias=True)
        self.motion_config = _as_config(motion_config, VitalMotionConfig.model_type)
        self.feature_layers = list(feature_layers)
        self.downsample_ratio = downsample_ratio
        self.head_hidden_size = head_hidden_size
        if len(level_words) != len(level_values):
            raise ValueError(f"{len(level_words)} `level_words` but {len(level_values)} `level_values`.")
        self.level_words = list(level_words)
        self.level_values = list(level_values)
        layers = len(self._layer_widths)
        if not self.feature_layers or not all(0 <= layer < layers for layer in self.feature_layers):
            raise ValueError(
                f"`feature_layers` are {self.feature_layers}, but the image encoder has the layers 0 to {layers - 1}."
            )
        super().__init__(**kwargs)

    @property
    def _layer_widths(self) -> list[int]:
        """Channels of the output of each layer or stage of the image encoder."""
        stages = getattr(self.vision_config, "hidden_sizes", None)
        return stages or [self.vision_config.hidden_size] * self.vision_config.num_hidden_layers

    @property
    def image_feature_size(self) -> int:
        """Width of the pooled feature of a tile."""
        return sum(self._layer_widths[i] for i in self.feature_layers) * round(1 / self.downsample_ratio) ** 2


class VitalProbeProcessor(ZooNamesMixin, MediaPreparationMixin, ProcessorMixin):
    """Prepares pictures and clips for [`VitalForQualityProbe`], exactly as `VitalProcessor` does, without any text.

    Args:
        image_processor (`VitalImageProcessor`): cuts pictures into tiles and normalises them.
        motion_size (`int`, *optional*, defaults to 448): height and width of a motion frame in pixels.
        max_tiles_per_frame (`int`, *optional*, defaults to 1): tiles of one key frame at most.
        frame_sampling (`dict`, *optional*): fields of `FrameSampling`: which frames of a clip are seen.
    """

    single_tile_copies = 1

    def __init__(self, image_processor=None, motion_size=448, max_tiles_per_frame=1, frame_sampling=None):
        self.motion_size = motion_size
        self.max_tiles_per_frame = max_tiles_per_frame
        self.sampling = FrameSampling.from_dict(frame_sampling or {})
        self.frame_sampling = self.sampling.to_dict()
        super().__init__(image_processor)

    @property
    def model_input_names(self) -> list[str]:
        """`list[str]`: what a call can return."""
        return ["pixel_values", "num_tiles", "num_windows", "motion_values", "motion_lengths"]

    def __call__(self, images=None, videos=None, return_tensors="pt") -> BatchFeature:
        """Makes model inputs of pictures, then clips: [`score_inputs`] of both together."""
        if return_tensors != "pt":
            raise ValueError(f"VitalProbeProcessor makes PyTorch tensors only, got return_tensors={return_tensors!r}.")
        return self.score_inputs([*_flatten(images), *_flatten(videos)])

    def score_inputs(self, items: list, device="cpu", dtype: torch.dtype = torch.float32) -> BatchFeature:
        """Model inputs for scoring, one row an item.

        Args:
            items (`list`): media items or `PreparedMedia`, pictures and clips mixed.
            device, dtype (*optional*): of the inputs, as in `visual_inputs`.

        Returns:
            `BatchFeature` with `pixel_values` `(num_tiles, 3, S, S)`, `num_tiles` `(batch_size,)` and `num_windows`
            `(batch_size,)`, 0 for a picture; where there are clips, also `motion_values` `(num_frames, 3, M, M)` and
            `motion_lengths` `(num_windows,)`.

        Raises:
            MediaError: if an item cannot be read.
            ValueError: if there is no item.
        """
        media = [self.prepare(item) for item in items]
        if not media:
            raise ValueError("Got no items; give at least one picture or clip.")
        return BatchFeature(
            {
                **self.visual_inputs(media, device, dtype),
                "num_tiles": torch.tensor([sum(m.num_tiles) for m in media]),
                "num_windows": torch.tensor([len(m.motion_lengths) for m in media]),
            }
        )


@dataclass
class VitalProbeOutput(ModelOutput):
    """Output of [`VitalForQualityProbe`].

    Attributes:
        logits (`torch.FloatTensor` of shape `(batch_size, 5)`): of the levels, best first.
        features (`torch.FloatTensor` of shape `(batch_size, image_feature_size + motion_feature_size)`): what the head
            reads.
    """

    logits: torch.Tensor | None = None
    features: torch.Tensor | None = None


class VitalProbeHead(nn.Module):
    """Two linear layers with nothing between them: linear, but of a lower rank, so with fewer weights."""

    def __init__(self, in_features: int, hidden_size: int, levels: int):
        super().__init__()
        self.linear_1 = nn.Linear(in_features, hidden_size)
        self.linear_2 = nn.Linear(hidden_size, levels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(batch_size, in_features)` to `(batch_size, levels)`."""
        return self.linear_2(self.linear_1(features))


class VitalForQualityProbe(VitalScoringMixin, VitalPreTrainedModel):
    """Image encoder, motion encoder and a linear head on the five levels: scores pictures and clips.

    A picture has no motion: its motion feature is zero, so that its score comes from the image encoder alone. (The
    released probe cannot take pictures at all, and a head that saw nothing but clips in training, as the released one,
    was never fitted to that zero: rank pictures with it, and do not compare them with clips.)

    Example:

    ```python
    >>> from transformers import AutoModel

    >>> probe = AutoModel.from_pretrained("org/vital-probe", trust_remote_code=True)
    >>> clip, photo = probe.score(["clip.mp4", "photo.jpg"])
    >>> clip.score, clip.std, clip.level
    ```
    """

    config_class = VitalProbeConfig
    main_input_name = "pixel_values"
    input_modalities = ("image", "video")
    _processor_class = VitalProbeProcessor
    _auto_map = {"AutoConfig": "probe_vital.VitalProbeConfig", "AutoModel": "probe_vital.VitalForQualityProbe"}

    def __init__(self, config: VitalProbeConfig):
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        prefer_heads(self.vision_tower)
        let_norms_have_two_dtypes(self.vision_tower)
        self.motion_encoder = VitalMotionModel._from_config(config.motion_config)
        self.head = VitalProbeHead(
            config.image_feature_size + config.motion_config.hidden_size,
            config.head_hidden_size,
            len(config.level_words),
        )
        self.post_init()

    def pool_tiles(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Tiles to pooled features.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(num_tiles, 3, tile_size, tile_size)`): normalised tiles.

        Returns:
            `torch.FloatTensor` of shape `(num_tiles, image_feature_size)`: the chosen layers' outputs without the
            class token, pixel-unshuffled and averaged over positions. Channels are ordered by place in the unshuffled
            block, then layer, as if the layers had been concatenated first.
        """
        still_frozen_norms(self.vision_tower)
        pixel_values = pixel_values.to(self.vision_tower.dtype)
        outputs = self.vision_tower(pixel_values=pixel_values, output_hidden_states=True, return_dict=True)
        # A device map may have the encoder's layers on several devices.
        hidden_states = [each.to(outputs.last_hidden_state.device) for each in outputs.hidden_states]
        factor = round(1 / self.config.downsample_ratio)
        pooled = []
        for layer in self.config.feature_layers:  # hidden_states[0] is what goes into layer 0
            features = pixel_unshuffle(feature_map(hidden_states[layer + 1]), factor).mean(dim=(1, 2))
            pooled.append(features.unflatten(-1, (factor**2, -1)))  # [N, factor^2, C]
        return torch.cat(pooled, dim=-1).flatten(1)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        num_tiles: torch.Tensor,
        num_windows: torch.Tensor | None = None,
        motion_values: torch.Tensor | None = None,
        motion_lengths: torch.Tensor | None = None,
    ) -> VitalProbeOutput:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(num_tiles, 3, tile_size, tile_size)`): tiles of the batch.
            num_tiles (`torch.LongTensor` of shape `(batch_size,)`): tiles of each item, key frames' together.
            num_windows (`torch.LongTensor` of shape `(batch_size,)`, *optional*): motion windows of each item, 0 for a
                picture. Needed where there are motion windows.
            motion_values (`torch.FloatTensor` of shape `(num_frames, 3, height, width)`, *optional*): motion frames of
                the batch.
            motion_lengths (`torch.LongTensor` of shape `(num_windows,)`, *optional*): frames of each motion window.

        Raises:
            ValueError: if the counts and the media do not match.
        """
        image_features = segment_mean(self.pool_tiles(pixel_values), num_tiles, "tiles")
        motion_size = self.config.motion_config.hidden_size
        motion_features = image_features.new_zeros(len(num_tiles), motion_size)
        if motion_values is not None:
            if num_windows is None or motion_lengths is None:
                raise ValueError("`motion_values` need `num_windows` and `motion_lengths` beside them.")
            windows = self.motion_encoder.encode_windows(motion_values, motion_lengths)
            num_frames = num_windows.new_zeros(len(num_windows))
            item = segment_index(num_windows, len(windows), "motion windows")
            num_frames.index_add_(0, item, motion_lengths.to(num_frames))
            motion_features = segment_mean(torch.cat(windows), num_frames, "motion frames").to(image_features)
        features = torch.cat([image_features, motion_features], dim=-1)
        return VitalProbeOutput(logits=self.head(features.to(self.head.linear_1.weight.dtype)), features=features)

    def level_logits(self, **inputs) -> torch.Tensor:
        """Logits of the five levels. Differentiable.

        Args:
            inputs: what `processor.score_inputs` returns, on the model's device.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, 5)`, float32, best level first.
        """
        return self(**inputs, return_dict=True).logits.float()


def segment_index(counts: torch.Tensor, total: int, name: str) -> torch.Tensor:
    """Returns the item that each of the `total` rows belongs to, items having `counts` of them in order.

    Raises:
        ValueError: if the counts do not sum to `total`, naming what was counted.
    """
    if int(counts.sum()) != total:
        raise ValueError(f"The batch counts {int(counts.sum())} {name}, but there are {total}.")
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def segment_mean(features: torch.Tensor, counts: torch.Tensor, name: str) -> torch.Tensor:
    """Means of runs of rows; an empty run's is zero.

    Args:
        features (`torch.Tensor` of shape `(total, C)`): rows of all items in order.
        counts (`torch.LongTensor` of shape `(items,)`): rows of each item; sums to `total`.
        name (`str`): what a row is, for the error message.

    Returns:
        `torch.Tensor` of shape `(items, C)`.

    Raises:
        ValueError: if the counts do not sum to `total`.
    """
    index = segment_index(counts, len(features), name).to(features.device)
    counts = counts.to(features.device)
    sums = features.new_zeros(len(counts), features.shape[1]).index_add(0, index, features)
    return sums / counts.clamp_min(1).unsqueeze(-1).to(features.dtype)


VitalProbeProcessor.register_for_auto_class()
VitalForQualityProbe.register_for_auto_class("AutoModel")
AutoConfig.register(VitalProbeConfig.model_type, VitalProbeConfig, exist_ok=True)
AutoModel.register(VitalProbeConfig, VitalForQualityProbe, exist_ok=True)
AutoProcessor.register(VitalProbeConfig, VitalProbeProcessor, exist_ok=True)

__all__ = ["VitalForQualityProbe", "VitalProbeConfig", "VitalProbeProcessor"]
