"""(d) Building a data set: rows a second of each stage, with one and two workers and with Ray."""

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


def run(settings: Settings) -> dict[str, Any]:
    """Builds the same shards from the example files with every engine."""
    result: dict[str, Any] = {}
    for name, engine in engines(settings).items():
        with tempfile.TemporaryDirectory() as folder:
            staging, started = Staging(Path(folder)), time.perf_counter()
            with engine:
                ready = time.perf_counter()
                run_stages(config(settings), staging, engine)
            result[name] = {"start_s": ready - started, "wall_s": time.perf_counter() - ready}
            result[name]["stages"] = {
                stage: {key: numbers[key] for key in ("rows_out", "seconds", "rows_per_s")}
                for stage, numbers in stage_report(staging).items()
            }
            rows = result[name]["stages"]["distort"]["rows_out"]
            result[name]["versions_per_s"] = rows / result[name]["wall_s"]
    return result


def engines(settings: Settings) -> dict[str, LocalEngine | RayEngine]:
    """Who works, by name; Ray only where it is installed."""
    found: dict[str, LocalEngine | RayEngine] = {"1 worker": LocalEngine(1)}
    if not settings.quick:
        found["2 workers"] = LocalEngine(2)
        if importlib.util.find_spec("ray") is not None:
            found["Ray, 2 workers"] = RayEngine(workers=2)
    return found


def config(settings: Settings) -> BuildConfig:
    """A small build from the example files, a shard an original so that workers have something to share."""
    side = 96 if settings.quick else 384
    sizes = {"image_long_side": side, "clip_long_side": side // 2, "clip_frames": 8 if settings.quick else 24}
    recipe = {
        "sources": [{"kind": "folder", "path": str(EXAMPLES), "license": "see ATTRIBUTION.md", "name": "examples"}],
        "collect": {"items_per_shard": 1},
        "distort": {**sizes, "least_side": 24, "variants_per_item": 1 if settings.quick else 6},
        "annotate": {
            "image_annotators": ["gmsd", "mdsi", "haarpsi"],
            "clip_annotators": ["frame_gmsd", "frame_mdsi", "frame_haarpsi"],
        },
    }
    return BuildConfig.from_dict(recipe)
