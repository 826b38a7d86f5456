"""Measures `vital-tiny` on originals it never saw, and writes the numbers README shows.

Four questions: how well scores follow the PMOD mean of distorted copies of held-out photos (training distortions, and
distortions never trained on), and how often a distorted copy of a held-out clip, or of an example photo, scores below
its original.
"""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset_scripts.annotators.calibration import annotate_image
from dataset_scripts.distortions import distort_clip, distort_image
from dataset_scripts.pmod import pmod
from modeling_vital.evaluation import CORRELATIONS, bootstrap_intervals
from modeling_vital.media_vital import load_media
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from training.tiny_data import DataConfig, load_originals


logger = logging.getLogger(__name__)

EXAMPLES = Path("spaces_demo/examples")
CLIP_PAIRS = {"compression": ("h264_compression", "h265_compression"), "stutter": ("stutter", "frame_drop_rate")}
VISIBLE = (3, 4, 5)  # severities at which a person sees the difference


def evaluate(model_dir: Path, data_dir: Path, config: DataConfig, output: Path, seed: int = 1234) -> dict:
    """Scores the held-out originals and their copies through `model.score`, the same path users take.

    Args:
        model_dir (`Path`): a checkpoint.
        data_dir (`Path`): what `dataset_scripts.sources.registry` fetched.
        config (`DataConfig`): of the training run; says which originals and distortions were held out.
        output (`Path`): JSON file to write; per-item rows go beside it as `.items.jsonl`.
        seed (`int`, *optional*, defaults to 1234): of the distortions drawn.

    Returns:
        `dict`: the content of `output`.
    """
    model = VitalForConditionalGeneration.from_pretrained(model_dir)
    originals = load_originals(data_dir, config, "test")
    rng = np.random.default_rng(seed)
    seen = image_rows(model, originals.photos, config.image_distortions(), 6, config, rng)
    unseen = image_rows(model, originals.photos, config.held_out_distortions, 4, config, rng)
    clips = clip_rows(model, originals.clips, rng)
    examples = example_rows(model, rng)
    rows = [*seen, *unseen, *clips, *examples]
    results = {
        "photos": len(originals.photos),
        "clips": len(originals.clips),
        "held_out_distortions": config.held_out_distortions,
        "in_domain": correlation(seen, rng),
        "held_out": correlation(unseen, rng),
        "in_domain_by_distortion": by_distortion(seen),
        "held_out_by_distortion": by_distortion(unseen),
        "clip_pairs": {kind: share_below([r for r in clips if r["kind"] == kind]) for kind in CLIP_PAIRS},
        "example_pairs": share_below(examples),
    }
    results["clip_pairs"]["all"] = share_below(clips)
    output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    output.with_suffix(".items.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    logger.info("wrote %s", output)
    return results


def readme_numbers(results: dict) -> str:
    """The measured numbers as the Markdown table README shows.

    Args:
        results (`dict`): what [`evaluate`] returns.
    """
    rows = [
        ("SRCC with the PMOD mean, training distortions, held-out photos", _interval(results["in_domain"]), "0.65"),
        ("SRCC with the PMOD mean, distortions never trained on", _interval(results["held_out"]), "0.40"),
        ("compressed copy below its held-out clip", _share(results["clip_pairs"]["compression"]), "80 %"),
        ("stuttering copy below its held-out clip", _share(results["clip_pairs"]["stutter"]), "80 %"),
        ("blurred, noisy or JPEG copy below its example photo", _share(results["example_pairs"]), "100 %"),
    ]
    table = "".join(f"| {what} | {value} | {goal} |\n" for what, value, goal in rows)
    held_out = ", ".join(name.replace("_", " ") for name in results["held_out_distortions"])
    return (
        f"`vital-tiny` on {results['photos']} photos and {results['clips']} clips it never saw, split by original "
        f"(never trained on: {held_out}).\nIntervals are 95 %, bootstrapped over originals; copies in pairs have "
        f"severity 3 to 5 of 5. Made by\n`python -m training.tiny --stage evaluate --readme README.md`, from "
        f"`model_cards/data/vital-tiny.json`.\n\n| what | measured | goal |\n|---|---|---|\n{table}"
    )


def write_readme(results: dict, readme: Path) -> None:
    """Puts [`readme_numbers`] between the `numbers` markers of a README.

    Raises:
        ValueError: if the markers are not there.
    """
    text = readme.read_text(encoding="utf-8")
    begin, end = "<!-- numbers:begin -->\n", "<!-- numbers:end -->"
    if begin not in text or end not in text:
        raise ValueError(f"{readme} lacks the lines {begin.strip()!r} and {end!r}.")
    head, rest = text.split(begin, 1)
    tail = rest.split(end, 1)[1]
    readme.write_text(f"{head}{begin}{readme_numbers(results)}{end}{tail}", encoding="utf-8")


def _interval(result: dict) -> str:
    return f"{result['srcc']:.3f} ({result['low']:.3f} to {result['high']:.3f}, n = {result['n']})"


def _share(result: dict) -> str:
    return f"{100 * result['share']:.1f} % of {result['n']}"


def image_rows(model, photos: dict, names: list[str], copies: int, config: DataConfig, rng) -> list[dict]:
    """Scores each photo, at most 512 pixels long, and `copies` distorted copies; PMOD by the same annotators."""
    rows = []
    for content_id, photo in tqdm(photos.items(), desc="held-out photos", unit="photo"):
        scale = min(1.0, 512 / max(photo.shape[:2]))
        size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        draws = [(str(n), int(s)) for n, s in zip(rng.choice(names, copies), rng.integers(1, 6, copies), strict=True)]
        pictures = [photo, *(distort_image(photo, name, severity, rng) for name, severity in draws)]
        scores = model.score([Image.fromarray(p) for p in pictures])
        for picture, score, (name, severity) in zip(pictures, scores, [("none", 0), *draws], strict=True):
            opinions = annotate_image(picture, photo, config.image_annotators)
            mos = float(pmod(np.array([list(opinions.values())])).mean[0])
            rows.append(
                {"content_id": content_id, "distortion": name, "severity": severity, "mos": mos, "score": score.score}
            )
    return rows


def clip_rows(model, clips: dict, rng) -> list[dict]:
    """Scores two stretches of each clip and copies of them, compressed and stuttering, at every visible severity."""
    rows = []
    for content_id, clip in tqdm(clips.items(), desc="held-out clips", unit="clip"):
        for half, frames in enumerate(np.array_split(clip, 2)):
            base = model.score([frames])[0].score
            for kind, names in CLIP_PAIRS.items():
                for name in names:
                    for severity in VISIBLE:
                        score = model.score([distort_clip(frames, name, severity, rng)])[0].score
                        row = {"content_id": f"{content_id}/{half}", "kind": kind, "distortion": name}
                        rows.append({**row, "severity": severity, "original": base, "score": score})
    return rows


def example_rows(model, rng) -> list[dict]:
    """Scores the example photos and blurred, noisy and heavily JPEG-compressed copies of them, at their own size."""
    rows = []
    for path in sorted(EXAMPLES.iterdir()):
        if path.suffix.lower() not in (".jpg", ".png", ".webp"):
            continue
        photo = np.asarray(load_media(path))
        base = model.score([Image.fromarray(photo)])[0].score
        for name in ("gaussian_blur", "white_noise", "jpeg"):
            for severity in VISIBLE:
                copy = Image.fromarray(distort_image(photo, name, severity, rng))
                row = {"content_id": path.name, "kind": "example", "distortion": name, "severity": severity}
                rows.append({**row, "original": base, "score": model.score([copy])[0].score})
    return rows


def correlation(rows: list[dict], rng, resamples: int = 500) -> dict:
    """SRCC between scores and PMOD means with a 95 % interval, bootstrapped over originals.

    Returns:
        `dict` with `srcc`, `low`, `high` in [-1, 1] and `n`, the number of pictures.
    """
    scores, mos, groups = ([row[name] for row in rows] for name in ("score", "mos", "content_id"))
    low, high = bootstrap_intervals(scores, mos, groups, ("srcc",), resamples, seed=rng)["srcc"]
    return {"srcc": CORRELATIONS["srcc"](scores, mos), "low": low, "high": high, "n": len(rows)}


def by_distortion(rows: list[dict]) -> dict[str, float]:
    """SRCC within each distortion, its originals included."""
    clean = [r for r in rows if r["distortion"] == "none"]
    result = {}
    for name in sorted({r["distortion"] for r in rows} - {"none"}):
        mine = [r for r in rows if r["distortion"] == name]
        ids = {r["content_id"] for r in mine}
        mine += [r for r in clean if r["content_id"] in ids]
        result[name] = CORRELATIONS["srcc"]([r["score"] for r in mine], [r["mos"] for r in mine])
    return result


def share_below(rows: list[dict]) -> dict:
    """Share of copies that score below their original."""
    below = sum(r["score"] < r["original"] for r in rows)
    return {"share": below / len(rows) if rows else float("nan"), "n": len(rows)}
