"""Measures how well maps and curves of `vital-tiny` find known damage, and writes the tables of the page about them.

    python -m training.suite.known_damage docs/where-is-it-bad.md

Part of an example photo is damaged, or a second of a clip; the map or curve should be lowest there.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import rankdata
from tqdm import tqdm

from dataset_scripts.distortions import distort_clip, distort_image
from modeling_vital import VitalForConditionalGeneration, zoo
from modeling_vital.local_quality import quality_curve, quality_map
from modeling_vital.media_vital import load_media
from training.suite.measurement import EXAMPLES
from training.tiny.originals import pan_and_zoom


BEGIN, END = "<!-- where:begin -->\n", "<!-- where:end -->"
PHOTO_DAMAGE = {"blur": "gaussian_blur", "noise": "white_noise", "JPEG": "jpeg"}
CLIP_DAMAGE = {
    **PHOTO_DAMAGE,
    "H.264": "h264_compression",
    "stutter": "stutter",
    "flicker": "flicker",
    "bursts of noise": "temporal_noise",
}
CONTEXT_WORDS = {"neighbours": "neighbours and whole", "alone": "alone"}
_SEVERITY, _FPS, _FRAMES, _BAD_S = 4, 30, 180, (3, 4)
_GRID = 8  # pixels between the points that are compared


def auc(values: np.ndarray, bad: np.ndarray) -> float:
    """Share of pairs of a bad and a sound place in which the bad one has the lower value; ties count half.

    Args:
        values (`np.ndarray`): any shape.
        bad (`np.ndarray`): bool, of the same shape.
    """
    ranks, bad = rankdata(-values.ravel()), bad.ravel()
    count = int(bad.sum())
    return float((ranks[bad].sum() - count * (count + 1) / 2) / (count * (len(bad) - count)))


def iou(values: np.ndarray, bad: np.ndarray) -> float:
    """Overlap of the bad places with the as many lowest ones: intersection over union."""
    lowest = values <= np.quantile(values, bad.mean())
    return float((lowest & bad).sum() / (lowest | bad).sum())


def map_rows(model: VitalForConditionalGeneration) -> Iterator[tuple]:
    """The table of maps: damage, what is read, AUC, IoU, and how often the lowest point lies in the damage."""
    found = defaultdict(list)
    for path in tqdm(sorted(EXAMPLES.glob("*.jpg")), desc="maps", unit="photo"):
        photo = np.asarray(load_media(path))
        height, width = photo.shape[:2]
        for name, distortion in PHOTO_DAMAGE.items():
            damaged = distort_image(photo, distortion, _SEVERITY, np.random.default_rng(0))
            for place in ((slice(None), slice(width // 2, None)), (slice(height // 2, None), slice(width // 2))):
                picture, bad = photo.copy(), np.zeros((height, width), bool)
                picture[place], bad[place] = damaged[place], True
                for context in CONTEXT_WORDS:
                    values = quality_map(model, Image.fromarray(picture), context=context).values()[::_GRID, ::_GRID]
                    there = bad[::_GRID, ::_GRID]
                    hit = there.ravel()[values.argmin()]
                    found[name, context].append((auc(values, there), iou(values, there), hit))
    for (name, context), measured in found.items():
        aucs, ious, hits = (np.array(column) for column in zip(*measured, strict=True))
        span = f"{aucs.mean():.3f} ({aucs.min():.3f})"
        yield name, CONTEXT_WORDS[context], span, f"{ious.mean():.3f}", f"{hits.sum()} of {len(hits)}"


def example_clips() -> Iterator[np.ndarray]:
    """Five clips of six seconds: the two examples, played to and fro, and three camera moves over photos."""
    for path in sorted(EXAMPLES.glob("*.mp4")):
        clip = load_media(path)
        frames = clip.get_frames(range(min(clip.num_frames, _FRAMES)))
        while len(frames) < _FRAMES:
            frames = np.concatenate([frames, frames[::-1]])
        yield np.ascontiguousarray(frames[:_FRAMES])
    for number, path in enumerate(sorted(EXAMPLES.glob("*.jpg"))[:3]):
        yield pan_and_zoom(np.asarray(load_media(path)), _FRAMES, np.random.default_rng(number))


def curve_rows(model: VitalForConditionalGeneration) -> Iterator[tuple]:
    """The table of curves: damage, AUC of each of the three scores, how often the worst window meets the damage."""
    found = defaultdict(list)
    first, last = (second * _FPS for second in _BAD_S)
    for frames in tqdm(list(example_clips()), desc="curves", unit="clip"):
        for name, distortion in CLIP_DAMAGE.items():
            bad = frames.copy()
            bad[first:last] = distort_clip(frames[first:last], distortion, _SEVERITY, np.random.default_rng(0), _FPS)
            curve = quality_curve(model, list(bad))
            middles = np.array([(point.start_s + point.end_s) / 2 * curve.fps / _FPS for point in curve.points])
            there = (middles >= _BAD_S[0]) & (middles <= _BAD_S[1])
            scores = [
                [getattr(point, kind) for point in curve.points] for kind in ("clip_score", "frame_score", "score")
            ]
            hit = _BAD_S[0] - 0.5 <= middles[int(np.argmin(scores[2]))] <= _BAD_S[1] + 0.5
            found[name].append((*(auc(np.array(values), there) for values in scores), hit))
    for name, measured in found.items():
        *aucs, hits = zip(*measured, strict=True)
        yield name, *(f"{np.mean(values):.2f}" for values in aucs), f"{sum(hits)} of {len(hits)}"


def table(head: tuple[str, ...], rows: Iterator[tuple]) -> str:
    """Rows as a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Measures, and puts the tables between the markers of the page."""
    parser = argparse.ArgumentParser(prog="python -m training.suite.known_damage", description=__doc__.split("\n")[0])
    parser.add_argument("page", type=Path, help="a page with the markers of the tables")
    page = parser.parse_args(argv).page
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        parser.error(f"{page} lacks the lines {BEGIN.strip()} and {END}")
    model = VitalForConditionalGeneration.from_pretrained(zoo.resolve("vital-tiny")).eval()
    maps = ("damage", "read with", "AUC, mean (lowest)", "IoU, mean", "lowest point in the damage")
    curves = ("damage to a second", "as a clip", "frames as pictures", "both (what `score` is)", "worst window there")
    text = (
        f"{table(maps, map_rows(model))}\nFive clips of six seconds (the two examples, played to and fro, and three "
        f"camera moves over photos), each with one second\ndamaged. AUC is over windows:\n\n"
        f"{table(curves, curve_rows(model))}"
    )
    page.write_text(f"{head}{BEGIN}{text}{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
