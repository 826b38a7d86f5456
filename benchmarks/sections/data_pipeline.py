"""Building a data set: rows a second of each stage, with one and two workers and with Ray."""

import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any

from dataset_scripts.build_config import BuildConfig
from dataset_scripts.engines import LocalEngine, RayEngine
from dataset_scripts.pipeline import run_stages, stage_report
from dataset_scripts.staging import Staging

from ..cases import EXAMPLES, Settings
from ..timing import in_new_process


ENGINES = {
    "1 worker": lambda: LocalEngine(1),
    "2 workers": lambda: LocalEngine(2),
    "Ray, 2 workers": lambda: RayEngine(workers=2),
}


def run(settings: Settings) -> dict[str, Any]:
    """Builds the same shards from the example files with every engine; with Ray only where it is installed.

    Each in a process of its own: workers are forked, which a process that has used OpenCV or Arrow does not survive.
    """
    names = list(ENGINES)[: 1 if settings.quick else 3 if importlib.util.find_spec("ray") else 2]
    return {name: in_new_process(build, name, settings) for name in names}


def build(name: str, settings: Settings) -> dict[str, Any]:
    """Seconds and rows of one build with the engine of that name."""
    with tempfile.TemporaryDirectory() as folder:
        staging, started = Staging(Path(folder)), time.perf_counter()
        with ENGINES[name]() as engine:
            ready = time.perf_counter()
            run_stages(config(settings), staging, engine)
            done = time.perf_counter()
        report = stage_report(staging)
    return {
        "start_s": ready - started,
        "wall_s": done - ready,
        "versions_per_s": report["distort"]["rows_out"] / (done - ready),
        "stages": {
            stage: {key: numbers[key] for key in ("rows_out", "seconds", "rows_per_s")}
            for stage, numbers in report.items()
        },
    }


def config(settings: Settings) -> BuildConfig:
    """A small build from the example files, a shard an original so that workers have something to share."""
    image_side, clip_side = (128, 128) if settings.quick else (384, 192)
    sizes = {"image_long_side": image_side, "clip_long_side": clip_side, "clip_frames": 16 if settings.quick else 24}
    recipe = {
        "sources": [{"kind": "folder", "path": str(EXAMPLES), "license": "see ATTRIBUTION.md", "name": "examples"}],
        "collect": {"items_per_shard": 1},
        "distort": {**sizes, "least_side": 64, "variants_per_item": 1 if settings.quick else 6},
        "annotate": {
            "image_annotators": ["gmsd", "mdsi", "haarpsi"],
            "clip_annotators": ["frame_gmsd", "frame_mdsi", "frame_haarpsi"],
        },
    }
    return BuildConfig.from_dict(recipe)
