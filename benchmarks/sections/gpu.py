"""On a CUDA device: attention kernels, memory and speed of every size of the zoo with random weights.

Nobody has run this section yet: there was no such device.
"""

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.initialization import no_init_weights

from modeling_vital import VitalForConditionalGeneration
from modeling_vital.zoo import presets

from ..cases import Settings, fill
from ..measure import MIB, timed


SIZES = ("vital-1b", "vital-2b", "vital-8b", "vital-14b")
KERNELS = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}
KEY_FRAMES, MOTION_FRAMES, TEXT_TOKENS = 8, 64, 120  # of a clip of eight seconds


def run(settings: Settings) -> dict[str, Any]:
    """Memory, and clips a second by attention kernel, of each size that fits; nothing without a device."""
    if not torch.cuda.is_available():
        return {"skipped": "no CUDA device"}
    room = torch.cuda.get_device_properties(0).total_memory
    result: dict[str, Any] = {}
    for name in SIZES[: 1 if settings.quick else None]:
        if presets.entry(name).memory_bytes["bf16"] * 1.2 > room:
            result[name] = {"skipped": "does not fit"}
            continue
        result[name] = measure(name)
        torch.cuda.empty_cache()
    return result


@torch.no_grad()
def measure(name: str) -> dict[str, Any]:
    """Encoders and decoder on one clip."""
    with no_init_weights(), torch.device("cuda"):
        model = VitalForConditionalGeneration._from_config(presets.config(name), dtype=torch.bfloat16).eval()
    fill(model)
    like = {"device": "cuda", "dtype": torch.bfloat16}
    tiles = torch.randn(KEY_FRAMES, 3, 448, 448, **like)
    frames = torch.randn(MOTION_FRAMES, 3, 448, 448, **like)
    lengths = torch.tensor([MOTION_FRAMES])

    def clip() -> None:
        images = model.model.encode_tiles(tiles).flatten(0, 1)
        motion = model.model.get_motion_features(frames, lengths)
        text = images.new_zeros(TEXT_TOKENS, images.shape[-1])
        embeds = torch.cat([images, motion, text])[None]
        hidden = model.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        model.lm_head(hidden[:, -1])
        torch.cuda.synchronize()

    result: dict[str, Any] = {"weights_mib": torch.cuda.memory_allocated() / MIB}
    for kernel, backend in KERNELS.items():
        with sdpa_kernel(backend):
            clip()
            torch.cuda.reset_peak_memory_stats()
            seconds = min(timed(clip)[0] for _ in range(5))
        result[kernel] = {"clips_per_s": 1 / seconds, "peak_mib": torch.cuda.max_memory_allocated() / MIB}
    return result
