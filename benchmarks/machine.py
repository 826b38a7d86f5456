"""The machine that numbers were measured on, and the most it can do."""

import os
import platform
from pathlib import Path

import torch
import transformers

from modeling_vital.attention_vital import fast_bf16
from modeling_vital.packing import PackedLinear

from .timing import timed


def describe() -> dict[str, str | int]:
    """Processor, cores, threads and versions; nothing that names the machine or its folders."""
    about = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bf16": fast_bf16(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if torch.cuda.is_available():
        about["gpu"] = torch.cuda.get_device_name()
    return about


def matmul_gflops(dtype: torch.dtype, size: int = 1024) -> float:
    """The measured matrix-product peak: the best of six products of the encoder's own shape, in GFLOP/s.

    In bfloat16, where the hardware has it, products with packed weights count too, as they are faster.

    Args:
        dtype (`torch.dtype`): of both factors.
        size (`int`, *optional*, defaults to 1024): `(size, size)` by `(size, 4 * size)`, an MLP layer at that width.
    """
    a, layers = torch.randn(size, size).to(dtype), [torch.nn.Linear(size, 4 * size, bias=False).to(dtype)]
    if dtype == torch.bfloat16 and fast_bf16():
        layers.append(PackedLinear(layers[0]))
    with torch.no_grad():
        best = min(timed(lambda layer=layer: layer(a))[0] for layer in layers for _ in range(6))
    return 2 * size * size * 4 * size / best / 1e9


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
