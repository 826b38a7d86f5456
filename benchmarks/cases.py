"""Cases that are measured: models of the tiny and the true size with random weights, photos of given sizes, clips."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, InternVLForConditionalGeneration, InternVLVisionConfig, Qwen2Config
from transformers.initialization import no_init_weights

from modeling_vital import VitalForConditionalGeneration, zoo
from modeling_vital.attention_vital import fast_bf16
from modeling_vital.configuration_vital import VitalConfig, VitalMotionConfig
from modeling_vital.export.internvl import native_config
from modeling_vital.image_processing_vital import VitalImageProcessor
from modeling_vital.packing import pack_linears
from modeling_vital.processing_vital import VitalProcessor
from modeling_vital.zoo import presets


EXAMPLES = Path(__file__).resolve().parent.parent / "spaces_demo" / "examples"

TILE_GRIDS = {1: (1, 1), 3: (2, 1), 5: (2, 2), 7: (3, 2)}
"""Tiles, the thumbnail included -> width and height, in tiles, of a photo that becomes so many by every tile rule."""


@dataclass(frozen=True)
class Settings:
    """Extent of the measurement.

    Attributes:
        quick (`bool`): everything once at toy size, to see that it runs: the numbers are arbitrary.
        device (`str`): where the large model is.
    """

    quick: bool = False
    device: str = "cpu"

    @property
    def size(self) -> str:
        """`str`: name of the large model: `"1b"`, in quick runs `"toy"`."""
        return "toy" if self.quick else "1b"

    @property
    def dtype(self) -> torch.dtype:
        """`torch.dtype`: bfloat16 where the processor has it, as checkpoints are stored in it."""
        fast = self.device != "cpu" or fast_bf16()
        return torch.bfloat16 if fast and not self.quick else torch.float32

    def rounds(self, full: int) -> int:
        """Rounds of a measurement: `full`, in quick runs one."""
        return 1 if self.quick else full


def config(size: str) -> VitalConfig:
    """Configuration of `"1b"` or another size of the zoo, or of `"toy"`: the same architecture, for tests."""
    if size != "toy":
        return presets.config(f"vital-{size}")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    motion = {"inner_channels": [2, 2], "out_channels": [4, 8], "depths": [1, 1], "image_size": 56}
    return VitalConfig(
        vision_config=InternVLVisionConfig(**sizes, image_size=56, patch_size=14, attention_bias=True),
        motion_config=VitalMotionConfig(stem_channels=4, **motion),
        text_config=Qwen2Config(**sizes, num_key_value_heads=2, vocab_size=2048, max_position_embeddings=8192),
        image_seq_length=4,
        tie_word_embeddings=False,
    )


@lru_cache(maxsize=2)
def random_model(size: str, dtype: torch.dtype, packed: bool, device: str = "cpu") -> VitalForConditionalGeneration:
    """A model of a true size or `"toy"` with random weights, in the released conventions; two are kept.

    Args:
        size (`str`): see [`config`].
        dtype (`torch.dtype`): of the weights.
        packed (`bool`): whether as `vital score` loads it on a CPU.
        device (`str`, *optional*, defaults to `"cpu"`): where it is made, and stays.
    """
    tokenizer, shape = AutoTokenizer.from_pretrained(zoo.resolve("vital-tiny")), config(size)
    shape.image_token_id, shape.motion_token_id = tokenizer.convert_tokens_to_ids(["<IMG_CONTEXT>", "<quad>"])
    shape.pad_token_id, shape.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    shape.motion_token_layout = "channel_major"
    with no_init_weights(), torch.device(device):
        model = VitalForConditionalGeneration._from_config(shape, dtype=dtype).eval()
    fill(model)
    model.processor = VitalProcessor(
        VitalImageProcessor(tile_size=shape.vision_config.image_size[0], tile_rule="area"),
        tokenizer,
        image_seq_length=shape.image_seq_length,
        motion_size=shape.motion_config.image_size,
    )
    use_convention(model, "released")
    return pack_linears(model) if packed else model


@torch.no_grad()
def fill(model: torch.nn.Module, seed: int = 0) -> None:
    """Random weights that keep the scale of what goes through, cut from one row of numbers: billions are slow to draw.

    Args:
        model (`nn.Module`): changed in place.
        seed (`int`, *optional*, defaults to 0): of the numbers.
    """
    pool = torch.randn(2**20 + 1, generator=torch.Generator().manual_seed(seed))
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            fan_in = 4 if "embed" in name else parameter[0].numel()
            pool = pool.to(parameter.device)
            values = pool.repeat(-(-parameter.numel() // len(pool)))[: parameter.numel()]
            parameter.copy_((values * fan_in**-0.5).view(parameter.shape))
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def use_convention(model: VitalForConditionalGeneration, name: str) -> None:
    """Scores as the released script does (`"released"`: a single tile is shown twice), or as our own checkpoints.

    Args:
        model (`VitalForConditionalGeneration`): changed in place.
        name (`str`): `"released"` or `"default"`.
    """
    model.use_scoring(name)
    model.processor.single_tile_copies = 2 if name == "released" else 1


def tiny_model() -> VitalForConditionalGeneration:
    """The embedded `vital-tiny`."""
    return VitalForConditionalGeneration.from_pretrained("vital-tiny")


def native_model(model: VitalForConditionalGeneration) -> InternVLForConditionalGeneration:
    """transformers' own InternVL around the same weights, shared, not copied."""
    shape = native_config(model.config)
    with torch.device("meta"):
        native = InternVLForConditionalGeneration(shape).eval()
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith(("model.motion_",))}
    native.load_state_dict(weights, assign=True)
    native.model.language_model.rotary_emb = model.model.language_model.rotary_emb  # buffers that are not stored
    return native


def photos(tiles: list[int], side: int) -> list[Image.Image]:
    """One photo for each number of tiles, all different.

    Args:
        tiles (`list[int]`): what each becomes, the thumbnail included: keys of `TILE_GRIDS`.
        side (`int`): of a tile, pixels.
    """
    with Image.open(EXAMPLES / "mountain-path.jpg") as picture:
        source = picture.convert("RGB")
    result = []
    for number, count in enumerate(tiles):
        columns, rows = TILE_GRIDS[count]
        width, height = columns * side, rows * side
        wider = source.resize((width + len(tiles), height))
        result.append(wider.crop((number, 0, number + width, height)))
    return result


def clip(size: str) -> Path | list[np.ndarray]:
    """A clip for a model of that size: a file of 95 frames of 480 x 270 at 25 a second, or 12 frames of 64 x 48."""
    if size == "1b":
        return EXAMPLES / "city-towers-at-night.mp4"
    return list(np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), np.uint8))
