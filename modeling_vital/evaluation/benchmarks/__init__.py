"""Benchmarks with human opinions, read from a copy as it was distributed, and data sets that this project makes.

Example:

    >>> from modeling_vital.evaluation.benchmarks import load_benchmark
    >>> items = load_benchmark("koniq10k", "/data/koniq10k").items
"""

from .definition import Benchmark, BenchmarkError, Table
from .image_sets import IMAGE_SETS
from .loading import BenchmarkItem, LoadedBenchmark, check_no_leak, load_benchmark
from .mirror import MIRRORED, load_mirrored
from .video_sets import VIDEO_SETS


BENCHMARKS = {benchmark.name: benchmark for benchmark in (*IMAGE_SETS, *VIDEO_SETS)}
"""By name, images first."""

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkError",
    "BenchmarkItem",
    "LoadedBenchmark",
    "MIRRORED",
    "Table",
    "check_no_leak",
    "load_benchmark",
    "load_mirrored",
]
