"""Share of the machine's measured matrix-product peak that each part of the forward reaches, and why no more."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ..cases import Settings, random_model
from ..machine import matmul_gflops
from ..timing import timed


TEXT_TOKENS = 40  # of a scoring prompt, about
SHOWN = 6  # operators of a profile


def run(settings: Settings) -> dict[str, Any]:
    """Times every part between two measurements of the peak, and profiles it."""
    result: dict[str, Any] = {"dtype": str(settings.dtype), "parts": {}}
    with torch.no_grad():
        countable = parts(settings, packed=False)  # torch's counter does not know packed layers
        for name, work in parts(settings, packed=True).items():
            work()
            flops = count_flops(countable[name])
            rounds = [_round(work, settings) for _ in range(settings.rounds(3))]
            peak, seconds = max(peak for peak, _ in rounds), min(seconds for _, seconds in rounds)
            result["parts"][name] = {
                "gflop": flops / 1e9,
                "wall_s": seconds,
                "gflops": flops / seconds / 1e9,
                "peak_gflops": peak,
                "share": flops / seconds / 1e9 / peak,
                "operators": operators(work),
            }
    measured = result["parts"].values()
    gflop, seconds = (sum(part[key] for part in measured) for key in ("gflop", "wall_s"))
    result["forward_share"] = gflop / seconds / max(part["peak_gflops"] for part in measured)
    return result


def parts(settings: Settings, packed: bool) -> dict[str, Callable[[], Any]]:
    """The parts of the forward of one photo of one tile."""
    model = random_model(settings.size, settings.dtype, packed=packed)
    side, hidden = model.processor.image_processor.tile_size, model.config.text_config.hidden_size
    tile = torch.randn(1, 3, side, side).to(settings.dtype)
    embeds = torch.randn(1, model.config.image_seq_length + TEXT_TOKENS, hidden).to(settings.dtype)
    return {
        "image encoder and projector": lambda: model.model.encode_tiles(tile),
        "decoder": lambda: model.model.language_model(inputs_embeds=embeds, use_cache=False),
        "head, one position": lambda: model.lm_head(embeds[:, -1]),
    }


def count_flops(work: Callable[[], Any]) -> int:
    """Operations of matrix products, convolutions and attention, two a multiplication with its addition.

    Attention is counted as the two plain products it is: torch's counter does not know the CPU's fused kernel, nor
    packed layers.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def operators(work: Callable[[], Any]) -> dict[str, float]:
    """Share of the time of each operator, the largest first, and of all others together."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    shares = {event.key.removeprefix("aten::"): event.self_cpu_time_total / total for event in events[:SHOWN]}
    return {**shares, "other": 1 - sum(shares.values())}


def _round(work: Callable[[], Any], settings: Settings) -> tuple[float, float]:
    return matmul_gflops(settings.dtype, 64 if settings.quick else 1024), timed(work)[0]
