"""Interface of a layout of published weights, and the processor that goes with it."""

import logging
from collections.abc import Collection
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from ..configuration_vital import VitalConfig
from ..image_processing_vital import VitalImageProcessor
from ..processing_vital import CHAT_TEMPLATE, VitalProcessor
from .errors import ConversionError
from .rules import Rule


logger = logging.getLogger(__name__)

INTERNVL_SYSTEM_MESSAGE = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)
"""What stands in the system turn of the prompt template `internvl2_5`, in training and in scoring."""

_SYSTEM_TURN = (
    "{%- if not messages or messages[0]['role'] != 'system' -%}\n<|im_start|>system\n"
    f"{INTERNVL_SYSTEM_MESSAGE}<|im_end|>\n{{% endif -%}}\n"
)


class Layout:
    """A layout: how to know it, and what becomes of its configuration, its weights and its tokenizer.

    Attributes:
        name (`str`): what people call it.
        needs_motion_weights (`bool`): whether the motion encoder comes from another file, its projector being new.
        scoring (`str`, *optional*): the scoring convention of its checkpoints; `None`: there is no choice.
    """

    name: str
    needs_motion_weights = False
    scoring: str | None = None

    def recognises(self, config: dict[str, Any], keys: Collection[str]) -> bool:
        """Returns `True` if a source with this `config.json` and these keys is of this layout."""
        raise NotImplementedError

    def model_class(self) -> type[PreTrainedModel]:
        """The class of the result."""
        raise NotImplementedError

    def config(self, source: dict[str, Any], keys: Collection[str]) -> PreTrainedConfig:
        """The configuration of the result.

        Raises:
            ConversionError: if the source is of a kind that our model does not have.
        """
        raise NotImplementedError

    def rules(self, source: dict[str, Any]) -> list[Rule]:
        """Returns the rules for its keys; the first one that matches holds."""
        raise NotImplementedError

    def processor(
        self, source: dict[str, Any], config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase | None
    ) -> ProcessorMixin | VitalImageProcessor | None:
        """The processor to be saved beside the weights; `None` where it would need a tokenizer and there is none."""
        raise NotImplementedError


def tile_size_of(source: dict[str, Any], vision: PreTrainedConfig) -> int:
    """Side of a tile, and of a motion frame, in pixels: what the source forces, or else what its encoder is for.

    Args:
        source (`dict`): `config.json`.
        vision (`PreTrainedConfig`): configuration of the image encoder.
    """
    return source.get("force_image_size") or vision.image_size[0]


def image_processor_of(source: dict[str, Any], vision: PreTrainedConfig, tile_rule: str) -> VitalImageProcessor:
    """The image processor that a published configuration describes.

    Args:
        source (`dict`): `config.json`; what it does not say is as in InternVL3.
        vision (`PreTrainedConfig`): configuration of the image encoder.
        tile_rule (`str`): see `choose_grid`.

    Raises:
        ConversionError: if pictures were padded to squares, which ours never are.
    """
    if source.get("pad2square"):
        raise ConversionError("This model was made for pictures padded to squares (pad2square); ours fills its tiles.")
    dynamic = source.get("dynamic_image_size", True)
    return VitalImageProcessor(
        tile_size=tile_size_of(source, vision),
        min_tiles=source.get("min_dynamic_patch", 1) if dynamic else 1,
        max_tiles=source.get("max_dynamic_patch", 12) if dynamic else 1,
        tile_rule=tile_rule,
        use_thumbnail=source.get("use_thumbnail", True),
    )


def vital_processor(
    pictures: VitalImageProcessor,
    tokenizer: PreTrainedTokenizerBase | None,
    config: VitalConfig,
    prompt_template: str | None = None,
    single_tile_copies: int = 1,
) -> VitalProcessor | None:
    """The processor of a converted model.

    Args:
        pictures (`VitalImageProcessor`): makes the tiles.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): the decoder's; without one there is no processor.
        config (`VitalConfig`): of the model.
        prompt_template (`str`, *optional*): the source's name of its prompt template.
        single_tile_copies (`int`, *optional*, defaults to 1): see `VitalProcessor`.

    Raises:
        ConversionError: if the tokenizer lacks a token that the prompts need.
    """
    if tokenizer is None:
        return None
    if prompt_template not in (None, "internvl2_5"):
        logger.warning("prompt template %r is not known here: prompts have no system turn", prompt_template)
    system = _SYSTEM_TURN if prompt_template == "internvl2_5" else ""
    try:
        return VitalProcessor(
            pictures,
            tokenizer,
            image_seq_length=config.image_seq_length,
            motion_size=config.motion_config.image_size,
            single_tile_copies=single_tile_copies,
            chat_template=system + CHAT_TEMPLATE,
        )
    except ValueError as error:
        raise ConversionError(f"The tokenizer does not match the model: {error}") from error
