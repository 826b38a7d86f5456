"""Configuration of VITAL: an image encoder, a motion encoder, a decoder, and how they meet."""

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from .levels_vital import LEVEL_VALUES, LEVEL_WORDS
from .zoo_names_vital import ZooNamesMixin


class VitalMotionConfig(PreTrainedConfig):
    """Configuration of the motion encoder, the fast pathway of a SlowFast network (arXiv 1812.03982).

    The defaults are the fast pathway of SlowFast-R50 8x8, the part of it that VITAL uses.

    Args:
        stem_channels (`int`, *optional*, defaults to 8): channels after the stem.
        inner_channels (`list[int]`, *optional*, defaults to `[8, 16, 32, 64]`): bottleneck width of each stage.
        out_channels (`list[int]`, *optional*, defaults to `[32, 64, 128, 256]`): output width of each stage.
        depths (`list[int]`, *optional*, defaults to `[3, 4, 6, 3]`): blocks of each stage.
        stem_kernel (`list[int]`, *optional*, defaults to `[5, 7, 7]`): stem kernel (time, height, width).
        image_size (`int`, *optional*, defaults to 448): height and width of a motion frame in pixels.
        norm_eps (`float`, *optional*, defaults to 1e-5): epsilon of the batch norms.
    """

    model_type = "vital_motion"
    base_config_key = "motion_config"

    def __init__(
        self,
        stem_channels=8,
        inner_channels=(8, 16, 32, 64),
        out_channels=(32, 64, 128, 256),
        depths=(3, 4, 6, 3),
        stem_kernel=(5, 7, 7),
        image_size=448,
        norm_eps=1e-5,
        **kwargs,
    ):
        if not len(inner_channels) == len(out_channels) == len(depths):
            raise ValueError(
                "`inner_channels`, `out_channels` and `depths` need one entry a stage, got "
                f"{len(inner_channels)}, {len(out_channels)} and {len(depths)}."
            )
        self.stem_channels = stem_channels
        self.inner_channels = list(inner_channels)
        self.out_channels = list(out_channels)
        self.depths = list(depths)
        self.stem_kernel = list(stem_kernel)
        self.image_size = image_size
        self.norm_eps = norm_eps
        super().__init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Width of the feature of one motion frame."""
        return self.out_channels[-1]


_CLASSES = {"vital": "VitalForConditionalGeneration", "vital_probe": "VitalForQualityProbe"}


class CheckpointConfigMixin(ZooNamesMixin):
    """`from_pretrained` of a checkpoint's own configuration, which takes no other model's; a base before the class
    of transformers.

    That one warns and goes on: the model would have the default sizes, those of 8B, and random weights.
    """

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """Reads `config.json`; otherwise as in the base class.

        Raises:
            ValueError: if it is of another type of model.
        """
        found, rest = super().get_config_dict(pretrained_model_name_or_path, **kwargs)  # type: ignore[misc]
        if (kind := found.get("model_type")) != cls.model_type:  # type: ignore[attr-defined]
            raise ValueError(
                f"{str(pretrained_model_name_or_path)!r} is a model of type {kind!r}, and what was asked for is one "
                f"of type {cls.model_type!r}: load it with {_CLASSES.get(kind, 'a class of its own')}."  # type: ignore[attr-defined]
            )
        return found, rest


class VitalConfig(CheckpointConfigMixin, PreTrainedConfig):
    """Configuration of [`VitalModel`] and [`VitalForConditionalGeneration`].

    Args:
        vision_config (`dict` or `PreTrainedConfig`, *optional*):
            Image encoder: any transformers vision model. Defaults to `InternVLVisionConfig(attention_bias=True)`, the
            InternViT-300M of the released models.
        motion_config (`dict` or `VitalMotionConfig`, *optional*): motion encoder. Defaults to SlowFast-R50's fast
            pathway.
        text_config (`dict` or `PreTrainedConfig`, *optional*): decoder: any causal language model. Defaults to Qwen2.
        image_token_id (`int`, *optional*, defaults to 151667): placeholder of an image token (`<IMG_CONTEXT>`).
        motion_token_id (`int`, *optional*, defaults to 151668): placeholder of a motion token. Its embedding is never
            used, so any spare special token of the tokenizer serves (`<quad>` in InternVL3's).
        image_seq_length (`int`, *optional*, defaults to 256): image tokens of one tile.
        vision_hidden_size (`int`, *optional*): channels of the image encoder's output. Read from `vision_config`
            when that says it (`hidden_size`, or the last of `hidden_sizes`).
        downsample_ratio (`float`, *optional*, defaults to 0.5): pixel-unshuffle factor before the image projector; 1
            is none.
        projector_hidden_act (`str`, *optional*, defaults to `"gelu"`): activation of both projectors.
        motion_token_layout (`str`, *optional*, defaults to `"frames"`): `"frames"`: token t is the feature of frame t.
            `"channel_major"`: the released checkpoints' arrangement, in which the (channels, frames) matrix is read as
            (frames, channels) without transposing it.
        level_words (`list[str]`, *optional*): the five level words, best first.
        level_values (`list[float]`, *optional*): the value of each level in a score. Defaults to the bin centres; the
            authors' scoring script uses `levels_vital.RELEASED_LEVEL_VALUES`.
        tie_word_embeddings (`bool`, *optional*, defaults to `False`): whether `lm_head` shares the input embeddings.
    """

    model_type = "vital"
    sub_configs = {"vision_config": AutoConfig, "motion_config": VitalMotionConfig, "text_config": AutoConfig}

    def __init__(
        self,
        vision_config=None,
        motion_config=None,
        text_config=None,
        image_token_id=151667,
        motion_token_id=151668,
        image_seq_length=256,
        vision_hidden_size=None,
        downsample_ratio=0.5,
        projector_hidden_act="gelu",
        motion_token_layout="frames",
        level_words=LEVEL_WORDS,
        level_values=LEVEL_VALUES,
        tie_word_embeddings=False,
        **kwargs,
    ):
        if motion_token_layout not in ("frames", "channel_major"):
            raise ValueError(f"`motion_token_layout` is 'frames' or 'channel_major', got {motion_token_layout!r}.")
        if len(level_words) != len(level_values):
            raise ValueError(f"{len(level_words)} `level_words` but {len(level_values)} `level_values`.")
        if image_token_id == motion_token_id:
            raise ValueError(
                "`image_token_id` and `motion_token_id` must differ: they mark what replaces a placeholder."
            )
        self.vision_config = _as_config(vision_config, "internvl_vision", attention_bias=True)
        self.motion_config = (
            motion_config
            if isinstance(motion_config, PreTrainedConfig)
            else VitalMotionConfig(**(motion_config or {}))
        )
        self.text_config = _as_config(text_config, "qwen2")
        self.image_token_id = image_token_id
        self.motion_token_id = motion_token_id
        self.image_seq_length = image_seq_length
        self.vision_hidden_size = vision_hidden_size or _output_width(self.vision_config)
        self.downsample_ratio = downsample_ratio
        self.projector_hidden_act = projector_hidden_act
        self.motion_token_layout = motion_token_layout
        self.level_words = list(level_words)
        self.level_values = list(level_values)
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
        self.text_config.tie_word_embeddings = tie_word_embeddings


def _as_config(config, default_type: str, **defaults) -> PreTrainedConfig:
    if isinstance(config, PreTrainedConfig):
        return config
    config = dict(config or {"model_type": default_type, **defaults})
    return CONFIG_MAPPING[config.pop("model_type", default_type)](**config)


def _output_width(vision_config: PreTrainedConfig) -> int:
    width = getattr(vision_config, "hidden_size", None) or getattr(vision_config, "hidden_sizes", [None])[-1]
    if width is None:
        raise ValueError(
            f"{type(vision_config).__name__} does not say how many channels it puts out; give `vision_hidden_size`."
        )
    return width


AutoConfig.register(VitalMotionConfig.model_type, VitalMotionConfig, exist_ok=True)
AutoConfig.register(VitalConfig.model_type, VitalConfig, exist_ok=True)

__all__ = ["VitalConfig", "VitalMotionConfig"]
