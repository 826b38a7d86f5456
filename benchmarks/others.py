"""Compares the default model with PIQE and plain sharpness: `python -m benchmarks.others RATED_FOLDER`.

Scores a folder of photographs that people rated (`ratings.csv` with `path` and `mos`, see `vital evaluate --benchmark
ratings`) and damaged copies of the better half, keeps the numbers in `benchmarks/results/others.json`, and writes
README's table.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from dataset_scripts.annotators.base import luma
from dataset_scripts.annotators.piqe import PIQE
from dataset_scripts.distortions import distort_image
from modeling_vital import VitalForConditionalGeneration, load_media
from modeling_vital.calibration_vital import folder_sha256
from modeling_vital.evaluation.benchmarks.ratings import load_ratings
from modeling_vital.evaluation.correlation import bootstrap, bootstrap_intervals, correlations
from modeling_vital.evaluation.scorers import SCORING_FILES
from modeling_vital.zoo import DEFAULT_MODEL, resolve

from .machine import describe
from .sensitivity import put


BEGIN, END = "<!-- others:begin -->\n", "<!-- others:end -->"
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "others.json"
COPIED = 50
SEVERITY = 3
DAMAGE = {
    "blurred": ("gaussian_blur", "lens_blur", "motion_blur"),
    "noisy": ("white_noise", "impulse_noise", "multiplicative_noise"),
    "compressed": ("jpeg", "jpeg2000"),
}
"""Kinds of damaged copies and the distortions of each."""
_TIMED = 10


@dataclass(frozen=True)
class Metric:
    """A metric to compare.

    Attributes:
        name (`str`): as the table shows it.
        needs (`str`): what it needs to run, in words.
        score (`Callable`): RGB pixels, uint8 `[H, W, 3]`, to a number, higher is better.
    """

    name: str
    needs: str
    score: Callable[[np.ndarray], float]


def sharpness(pixels: np.ndarray) -> float:
    """Variance of the Laplacian of the luma, the usual home-made measure of sharpness.

    Args:
        pixels (`np.ndarray` of shape `[H, W, 3]`): RGB, uint8.
    """
    return float(cv2.Laplacian(luma(pixels), cv2.CV_32F).var())


def metrics() -> list[Metric]:
    """The default model, PIQE and sharpness."""
    model, piqe = VitalForConditionalGeneration.from_pretrained(DEFAULT_MODEL).eval(), PIQE()
    return [
        Metric(f"**`{DEFAULT_MODEL}`**", "PyTorch", lambda pixels: model.score(Image.fromarray(pixels)).score),
        Metric("PIQE", "NumPy", lambda pixels: -piqe.score(pixels)),
        Metric("sharpness (variance of the Laplacian)", "OpenCV", sharpness),
    ]


def measure(compared: Sequence[Metric], photos: Sequence[np.ndarray], mos: Sequence[float]) -> list[dict[str, Any]]:
    """Measures metrics on rated photographs and on damaged copies of the better half of them.

    Args:
        compared (`Sequence[Metric]`): what to measure.
        photos (`Sequence[np.ndarray]`): RGB, uint8 `[H, W, 3]`.
        mos (`Sequence[float]`): the opinion on each, higher is better.

    Returns:
        `list[dict]`: for each metric `name`, `needs`, `srcc` with its interval `low` and `high`, `ms` a photo (the
        median of ten), and under `copies` for each kind of damage the `share` of copies that score below
        their original, `low`, `high` and `n`. Intervals are 95 %, bootstrapped over photographs.
    """
    better = np.argsort(mos)[::-1][: (len(mos) + 1) // 2]
    originals = better[:: max(len(better) // COPIED, 1)][:COPIED]
    found = []
    for metric in compared:
        scores = [metric.score(photo) for photo in photos]
        low, high = bootstrap_intervals(scores, mos, statistics=["srcc"])["srcc"]
        found.append(
            {
                "name": metric.name,
                "needs": metric.needs,
                "srcc": correlations(scores, mos, curves=())["srcc"],
                "low": low,
                "high": high,
                "ms": 1000 * float(np.median([_seconds(metric, photo) for photo in photos[:_TIMED]])),
                "copies": {
                    kind: _below(metric, photos, scores, originals, distortions)
                    for kind, distortions in DAMAGE.items()
                },
            }
        )
    return found


def _seconds(metric: Metric, photo: np.ndarray) -> float:
    start = time.process_time()
    metric.score(photo)
    return time.process_time() - start


def _below(
    metric: Metric,
    photos: Sequence[np.ndarray],
    scores: Sequence[float],
    originals: np.ndarray,
    distortions: Sequence[str],
) -> dict[str, Any]:
    right, groups = [], []
    for index in originals:
        for name in distortions:
            copy = distort_image(photos[index], name, SEVERITY, np.random.default_rng(int(index)))
            right.append(metric.score(copy) < scores[index])
            groups.append(int(index))
    hits = np.array(right, dtype=float)
    ((low, high),) = bootstrap(lambda rows: [hits[rows].mean()], len(hits), groups)
    return {"share": float(hits.mean()), "low": low, "high": high, "n": len(hits)}


def table(results: dict[str, Any]) -> str:
    """README's table.

    Args:
        results (`dict`): what `RESULTS` holds.
    """
    kinds = list(DAMAGE)
    copies = results["metrics"][0]["copies"]
    lines = [
        "| metric | follows people (SRCC) | " + " | ".join(f"{kind} copy below" for kind in kinds) + " | ms a photo |",
        "|---|---:|" + "---:|" * (len(kinds) + 1),
    ]
    for metric in results["metrics"]:
        shares = " | ".join(f"{100 * metric['copies'][kind]['share']:.0f} %" for kind in kinds)
        lines.append(
            f"| {metric['name']} | {metric['srcc']:.2f} ({metric['low']:.2f} to {metric['high']:.2f}) | {shares} | "
            f"{'under 1' if metric['ms'] < 1 else round(metric['ms'])} |"
        )
    counts = ", ".join(f"{copies[kind]['n']} {kind}" for kind in kinds)
    ours, *others = results["metrics"]
    ahead = [metric["name"].partition(" (")[0] for metric in others if metric["srcc"] >= ours["srcc"]]
    verdict = f"Across different photos, {' and '.join(ahead)} followed people better than ours." if ahead else ""
    return "\n".join(lines) + (
        f"\n\n{results['photos']} photographs that people rated, on none of which our model was trained, and damaged "
        f"copies of {COPIED} of\nthem ({counts}). Chance is 0 and 50 %. Intervals are 95 %; ms of one core, "
        f"{results['machine']['cpu']}. {verdict}\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, keeps the numbers, and writes README's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rated", type=Path, help="a folder with ratings.csv, columns path and mos")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the numbers are kept")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="where the table is")
    args = parser.parse_args(argv)
    loaded = load_ratings(args.rated)
    photos = [np.asarray(load_media(str(item.media))) for item in loaded.items]
    results = {
        "model": DEFAULT_MODEL,
        "sha256": folder_sha256(Path(resolve(DEFAULT_MODEL)), SCORING_FILES),
        "photos": len(photos),
        "severity": SEVERITY,
        "machine": describe(),
        "metrics": measure(metrics(), photos, [item.mos for item in loaded.items]),
    }
    args.readme.write_text(put(args.readme.read_text(encoding="utf-8"), table(results), BEGIN, END), encoding="utf-8")
    args.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
