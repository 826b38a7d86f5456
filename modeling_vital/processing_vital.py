"""The processor: media and text in, model inputs out. It owns every placeholder."""

import copy
import functools
import itertools
import re
from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, ProcessorMixin
from transformers.processing_utils import ProcessingKwargs

from .chat_template_vital import render
from .configuration_vital import VitalConfig
from .conventions_vital import (
    DEFAULT_ANSWER_PREFIXES,
    DEFAULT_DESCRIPTION_PREFIXES,
    VIDEO_PROMPTS,
    scoring_convention,
)
from .cutting_vital import PreparedMedia
from .image_processing_vital import VitalImageProcessor, VitalImageProcessorKwargs
from .media_vital import MediaError
from .preparation_vital import MediaPreparationMixin
from .video_processing_vital import FrameSampling
from .zoo_names_vital import ZooNamesMixin


CHAT_TEMPLATE = """\
{%- macro content(message) -%}
{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'text' -%}{{ part['text'] }}{%- else -%}<{{ part['type'] }}>{{ '\\n' }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['role'] == 'assistant' -%}
{%- generation -%}{{ content(message) }}<|im_end|>{%- endgeneration -%}
{%- else -%}
{{ content(message) }}<|im_end|>
{%- endif -%}
{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
"""ChatML as in InternVL: every picture or clip of a turn is a placeholder and a newline.

What the assistant says, its end token included, is marked for `return_assistant_tokens_mask`.
"""


class VitalTextKwargs(TypedDict, total=False):
    """Settings of the tokenizer in a call of [`VitalProcessor`]."""

    add_special_tokens: bool
    padding: bool | str
    padding_side: str | None
    pad_to_multiple_of: int | None
    truncation: bool | str
    max_length: int | None
    return_attention_mask: bool
    return_offsets_mapping: bool
    return_special_tokens_mask: bool
    return_text_replacement_offsets: bool
    return_token_type_ids: bool
    return_tensors: str


class VitalVideosKwargs(TypedDict, total=False):
    """Settings of [`VitalProcessor`] for clips that a call can change."""

    motion_size: int
    max_tiles_per_frame: int
    frame_sampling: dict


class VitalProcessorKwargs(ProcessingKwargs, total=False):  # type: ignore[call-arg]  # a TypedDict, not followed
    """Settings that a call of [`VitalProcessor`] takes besides text and media, by group or flat."""

    text_kwargs: VitalTextKwargs
    images_kwargs: VitalImageProcessorKwargs
    videos_kwargs: VitalVideosKwargs
    _defaults = {
        "text_kwargs": {
            "add_special_tokens": False,
            "padding": True,
            "return_tensors": "pt",
            "return_token_type_ids": False,
        }
    }


_GROUPS = {
    "text_kwargs": VitalTextKwargs,
    "images_kwargs": VitalImageProcessorKwargs,
    "videos_kwargs": VitalVideosKwargs,
}


class VitalProcessor(ZooNamesMixin, MediaPreparationMixin, ProcessorMixin):
    """Prepares pictures, clips and text for VITAL.

    Args:
        image_processor (`VitalImageProcessor`): cuts pictures into tiles and normalises them.
        tokenizer (`PreTrainedTokenizerBase`): tokenizer of the decoder.
        image_seq_length (`int`, *optional*, defaults to 256): image tokens of one tile, as in `VitalConfig`.
        motion_size (`int`, *optional*, defaults to 448): height and width of a motion frame in pixels.
        max_tiles_per_frame (`int`, *optional*, defaults to 1): tiles of one key frame at most.
        frame_sampling (`dict`, *optional*): fields of `FrameSampling`: which frames of a clip are seen.
        answer_prefixes (`dict[str, str]`, *optional*): text before the level word for `"image"` and `"video"`.
        video_prompt (`str`, *optional*, defaults to `"line_per_key_frame"`):
            how a clip is written down, one of `VIDEO_PROMPTS`; see `ScoringConvention`.
        single_tile_copies (`int`, *optional*, defaults to 1):
            how often the tile of a picture that is one tile stands in the prompt. The released checkpoints were
            trained and are scored with 2.
        image_token, motion_token (`str`, *optional*, default to `"<IMG_CONTEXT>"` and `"<quad>"`): placeholders,
            single tokens.
        start_image_token, end_image_token (`str`, *optional*, default to `"<img>"` and `"</img>"`): around a run of
            them.
        description_prefixes (`dict[str, str]`, *optional*): text before a description that was asked for without a
            prompt, for `"image"` and `"video"`.
        chat_template (`str`, *optional*): defaults to `CHAT_TEMPLATE`.
    """

    @classmethod
    def get_processor_dict(cls, pretrained_model_name_or_path, **kwargs):
        """Reads `processor_config.json`, as in the base class.

        Raises:
            ValueError: for that of a linear probe, which has no decoder and so no text to process.
        """
        found, rest = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        if found.get("processor_class") == "VitalProbeProcessor":
            raise ValueError(
                f"{str(pretrained_model_name_or_path)!r} is a linear probe: it has no decoder, so no tokenizer. "
                "Load it with VitalProbeProcessor or AutoProcessor; VitalForQualityProbe has that as `processor`."
            )
        return found, rest

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        image_seq_length=256,
        motion_size=448,
        max_tiles_per_frame=1,
        frame_sampling=None,
        answer_prefixes=None,
        video_prompt="line_per_key_frame",
        single_tile_copies=1,
        image_token="<IMG_CONTEXT>",
        motion_token="<quad>",
        start_image_token="<img>",
        end_image_token="</img>",
        description_prefixes=None,
        chat_template=None,
    ):
        self.image_seq_length = image_seq_length
        self.motion_size = motion_size
        self.max_tiles_per_frame = max_tiles_per_frame
        self.sampling = FrameSampling.from_dict(frame_sampling or {})
        self.frame_sampling = self.sampling.to_dict()
        self.answer_prefixes = {**DEFAULT_ANSWER_PREFIXES, **(answer_prefixes or {})}
        if video_prompt not in VIDEO_PROMPTS:
            raise ValueError(f"`video_prompt` is one of {', '.join(VIDEO_PROMPTS)}, got {video_prompt!r}.")
        if single_tile_copies < 1:
            raise ValueError(f"`single_tile_copies` must be at least 1, got {single_tile_copies}.")
        self.video_prompt = video_prompt
        self.single_tile_copies = single_tile_copies
        self.image_token = image_token
        self.motion_token = motion_token
        self.start_image_token = start_image_token
        self.end_image_token = end_image_token
        self.description_prefixes = {**DEFAULT_DESCRIPTION_PREFIXES, **(description_prefixes or {})}
        super().__init__(image_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE)
        for token in (image_token, motion_token, start_image_token, end_image_token):
            ids = tokenizer(token, add_special_tokens=False)["input_ids"]
            if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
                raise ValueError(f"The tokenizer has no single token {token!r}: add it, or name the one it has.")

    def use_scoring(self, name: str) -> None:
        """Takes the answer prefixes, frame sampling and video prompt of a scoring convention.

        The level values are the model's: `VitalForConditionalGeneration.use_scoring` changes both.

        Args:
            name (`str`): a key of `SCORING_CONVENTIONS`.

        Raises:
            ValueError: if there is no such convention.
        """
        convention = scoring_convention(name)
        self.answer_prefixes = dict(convention.answer_prefixes)
        self.sampling = convention.frame_sampling
        self.frame_sampling = self.sampling.to_dict()
        self.video_prompt = convention.video_prompt

    def media_text(self, media: PreparedMedia) -> str:
        """The text that stands for a picture or clip in the prompt, placeholders expanded."""
        runs = [
            f"{self.start_image_token}{self.image_token * (n * self.image_seq_length)}{self.end_image_token}"
            for n in media.num_tiles
        ]
        if media.modality == "image":
            return runs[0]
        num_motion = sum(media.motion_lengths)
        runs.append(f"{self.start_image_token}{self.motion_token * num_motion}{self.end_image_token}")
        if self.video_prompt == "line_per_motion_frame":
            runs += ["<image>"] * (num_motion + 1 - len(runs))
        labels = [*(f"Frame-{i + 1}" for i in range(len(runs) - 1)), "Motion Feature"]
        return "\n".join(f"{label}: {run}" for label, run in zip(labels, runs, strict=True))

    valid_processor_kwargs = VitalProcessorKwargs

    @property
    def model_input_names(self) -> list[str]:
        """`list[str]`: what a call can return."""
        return ["input_ids", "attention_mask", "pixel_values", "motion_values", "motion_lengths"]

    def __call__(self, images=None, text=None, videos=None, **kwargs) -> BatchFeature:
        """Makes model inputs of texts with `<image>` and `<video>` placeholders and the media they stand for.

        Args:
            images, videos (media items or `list`, *optional*): in the order of the placeholders over the whole batch.
            text (`str` or `list[str]`): one prompt a row.
            kwargs: [`VitalProcessorKwargs`], flat or in groups. `text_kwargs` go to the tokenizer (`padding`, on by
                default, `max_length`, ...), `images_kwargs` are settings of the image processor (`max_tiles`, ...),
                `videos_kwargs` some of this processor's, for this call. `return_tensors` is `"pt"`.

        Returns:
            `BatchFeature` with `input_ids`, `attention_mask`, and where there are media `pixel_values`
            `(num_tiles, 3, S, S)`, `motion_values` `(num_frames, 3, M, M)`, `motion_lengths` `(num_windows,)`.

        Raises:
            ValueError: if placeholders and media do not match, a truncation cuts visual tokens, or a value is out of
                range.
            TypeError: for an argument that is not one of them.
            MediaError: if an item cannot be read, or is a clip where a picture is meant.
        """
        groups = self._groups(kwargs)
        text_kwargs, chosen = groups["text_kwargs"], self._with_settings(groups)
        texts = [text] if isinstance(text, str) else list(text or [])
        waiting = {"<image>": _flatten(images), "<video>": _flatten(videos)}
        for placeholder, items in waiting.items():
            found = sum(t.count(placeholder) for t in texts)
            if found != len(items):
                raise ValueError(f"{found} {placeholder} placeholders in the text but {len(items)} items for them.")
        media, expanded, replaced = [], [], []
        for row in texts:
            parts, start, end, spans = [], 0, 0, []
            while (cut := min((row.find(p) for p in waiting if p in row), default=-1)) >= 0:
                placeholder = next(p for p in waiting if row.startswith(p, cut))
                media.append(chosen.prepare(waiting[placeholder].pop(0)))
                if f"<{media[-1].modality}>" != placeholder:
                    raise MediaError(f"A {media[-1].modality} was given for the placeholder {placeholder}.")
                parts += [row[:cut], self.media_text(media[-1])]
                start, end = start + cut, end + cut
                spans.append(
                    {"span": (start, start + len(placeholder)), "new_span": (end, end + len(parts[-1]))},
                )
                start, end = spans[-1]["span"][1], spans[-1]["new_span"][1]
                row = row[cut + len(placeholder) :]
            expanded.append("".join([*parts, row]))
            replaced.append(spans)
        with_offsets = text_kwargs.pop("return_text_replacement_offsets", False)
        inputs = self._tokenize(expanded, **text_kwargs)
        if media:
            inputs.update(chosen.visual_inputs(media))
        if with_offsets:  # `apply_chat_template` asks for them where it marks what the assistant says
            inputs["text_replacement_offsets"] = replaced
        return inputs

    def _groups(self, kwargs: dict) -> dict[str, dict]:
        """The arguments of a call by group, with the defaults; raises for what is in none of them."""
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        known = {name: set(group.__annotations__) for name, group in _GROUPS.items()}
        unknown = {name for name in kwargs if name not in known and not any(name in names for names in known.values())}
        for name in kwargs.keys() & known.keys():
            unknown |= {f"{name}[{key!r}]" for key in kwargs[name] if key not in known[name]}
        if unknown:
            listed = "; ".join(f"`{name}`: {', '.join(sorted(names))}" for name, names in known.items())
            raise TypeError(f"VitalProcessor has no argument {', '.join(sorted(unknown))}. It has {listed}.")
        groups = self._merge_kwargs(VitalProcessorKwargs, **kwargs)
        if (asked := groups["text_kwargs"]["return_tensors"]) != "pt":
            raise ValueError(f"VitalProcessor makes PyTorch tensors only, got return_tensors={asked!r}.")
        return groups

    def _with_settings(self, groups: dict[str, dict]) -> "VitalProcessor":
        """This processor with the settings of one call: itself where there are none."""
        pictures, clips = groups["images_kwargs"], dict(groups["videos_kwargs"])
        if not pictures and not clips:
            return self
        changed = copy.copy(self)
        changed.image_processor = self.image_processor.with_settings(**pictures)
        if "frame_sampling" in clips:
            changed.sampling = FrameSampling.from_dict({**self.frame_sampling, **clips.pop("frame_sampling")})
        for name, value in clips.items():
            setattr(changed, name, value)
        return changed

    def _tokenize(self, texts: list[str], **kwargs) -> BatchFeature:
        inputs = dict(self.tokenizer(texts, **{**VitalProcessorKwargs._defaults["text_kwargs"], **kwargs}))
        if kwargs.get("truncation"):
            for token in (self.image_token, self.motion_token):
                written = sum(text.count(token) for text in texts)
                kept = int((inputs["input_ids"] == self.tokenizer.convert_tokens_to_ids(token)).sum())
                if kept != written:
                    raise ValueError(
                        f"`max_length` cuts off {written - kept} of {written} {token} tokens, which stand for media: "
                        "allow more, or show fewer tiles (`max_tiles`) or frames (`frame_sampling`)."
                    )
        return BatchFeature(inputs)

    def plain_text(self, text: str) -> str:
        """Text of a user or of data, made such that no word of it is taken for a placeholder or special token.

        A space parts each one that is written there: `"<image>"` becomes `"< image>"`.
        """
        own = (self.image_token, self.motion_token, self.start_image_token, self.end_image_token)
        reserved = _reserved_words(self.tokenizer, len(self.tokenizer), ("<image>", "<video>", *own))
        return reserved.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def apply_chat_template(self, conversation, *args, **kwargs):
        """Renders a conversation, as the base class does. What a part of type `"text"` says goes through
        [`plain_text`]; a content that is one string is taken as it stands, placeholders included.
        """
        return super().apply_chat_template(self._with_plain_texts(conversation), *args, **kwargs)

    def _with_plain_texts(self, conversation: Any) -> Any:
        """A conversation, or a list of them, with the text parts of its messages made plain."""
        if isinstance(conversation, list | tuple):
            return [self._with_plain_texts(each) for each in conversation]
        if not isinstance(conversation, Mapping):
            return conversation
        if not isinstance(content := conversation.get("content"), list | tuple):
            return conversation
        parts: list[Any] = []
        for is_text, group in itertools.groupby(content, _is_text):  # a word may be spread over several
            if is_text:
                text = self.plain_text("".join(part["text"] for part in group))
                parts.append({"type": "text", "text": text})
            else:
                parts += group
        return {**conversation, "content": parts}

    def question_prompt(self, modality: str, question: str = "", prefix: str = "") -> str:
        """Prompt that shows one item and asks about it, up to where the answer continues it.

        Args:
            modality (`str`): `"image"` or `"video"`; its placeholder comes first in the human turn.
            question (`str`, *optional*): what follows it there, as [`plain_text`].
            prefix (`str`, *optional*): how the answer begins, as [`plain_text`].

        Raises:
            TemplateError: the chat template cannot be rendered, or not within `RENDER_TIMEOUT_S` seconds.
        """
        content = [{"type": modality}, *([{"type": "text", "text": question}] if question else [])]
        messages = [{"role": "user", "content": content}]
        prompt = render(lambda: self.apply_chat_template(messages, add_generation_prompt=True))
        return prompt + self.plain_text(prefix)

    def score_prompt(self, modality: str) -> str:
        """Prompt that ends where the level word follows: an empty human turn but for the media (prompt decoupling)."""
        return self.question_prompt(modality) + self.answer_prefixes[modality]

    def score_inputs(self, items: list, device="cpu", dtype: torch.dtype = torch.float32) -> BatchFeature:
        """Model inputs for scoring, one row an item, ending at the answer position (before any padding).

        Args:
            items (`list`): media items or `PreparedMedia`.
            device, dtype (*optional*): of the inputs, as in `visual_inputs`.

        Returns:
            `BatchFeature`: see `__call__`.
        """
        media = [self.prepare(item) for item in items]
        return BatchFeature({**self.score_tokens(media).to(device), **self.visual_inputs(media, device, dtype)})

    def score_tokens(self, media: list[PreparedMedia]) -> BatchFeature:
        """The part of [`score_inputs`] that is text: `input_ids` and `attention_mask`."""
        texts = [self.score_prompt(m.modality).replace(f"<{m.modality}>", self.media_text(m), 1) for m in media]
        tokenizer = self.tokenizer
        rows = [torch.tensor(_prompt_ids(tokenizer, len(tokenizer), text)) for text in texts]
        side = tokenizer.padding_side
        return BatchFeature(
            {
                "input_ids": pad_sequence(rows, True, tokenizer.pad_token_id or 0, side),
                "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], True, 0, side),
            }
        )


@functools.lru_cache(maxsize=64)
def _prompt_ids(tokenizer, vocab_size: int, text: str) -> tuple[int, ...]:
    """Tokens of a scoring prompt. Items of one shape have the same, and most of it is thousands of placeholders.

    `vocab_size` tells a tokenizer that was given more tokens from what it was before.
    """
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


@functools.lru_cache(maxsize=8)
def _reserved_words(tokenizer, vocab_size: int, placeholders: tuple[str, ...]) -> re.Pattern[str]:
    """Matches placeholders and the special tokens of a tokenizer, the longest that begins at a place."""
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    words = sorted({*placeholders, *special}, key=len, reverse=True)
    return re.compile("|".join(re.escape(word) for word in words if len(word) > 1))


def _flatten(items) -> list:
    """Media of a batch as one flat list; rows of items may be nested one deep."""
    if items is None:
        return []
    if not isinstance(items, (list, tuple)):
        return [items]
    return [x for item in items for x in (item if isinstance(item, (list, tuple)) else [item])]


VitalProcessor.register_for_auto_class()
AutoProcessor.register(VitalConfig, VitalProcessor, exist_ok=True)
AutoImageProcessor.register(VitalConfig, slow_image_processor_class=VitalImageProcessor, exist_ok=True)

__all__ = ["VitalProcessor"]
