"""A few dozen real rows, made on the spot from the example pictures and clips: what `recipes/smoke.yaml` learns from.

    python -m training.smoke_data build/smoke-pairs

Every example is shrunk and distorted, judged by machine annotators, and PMOD turns their opinions into targets, as in
the large data sets.
"""

import argparse
import io
from pathlib import Path

import cv2
import numpy as np
from datasets import Dataset
from PIL import Image as PILImage

from dataset_scripts.annotators.human_scale import annotate_item
from dataset_scripts.distortions import DISTORTIONS, distort_clip, distort_image, tag
from dataset_scripts.pmod import PMOD, pmod
from dataset_scripts.rows import distortion_text, media_columns, preference_of, score_text, turns
from dataset_scripts.schema import row_features
from modeling_vital.levels_vital import preference_probability
from modeling_vital.media_vital import load_media
from modeling_vital.publishing.data_card import card_text
from modeling_vital.whole_files import whole_folder


EXAMPLES = Path(__file__).resolve().parent.parent / "spaces_demo" / "examples"
HELD_OUT = ("mountain-path", "dogs-at-a-window", "office-tower-at-night")
LONG_SIDE = {"image": 320, "video": 160}  # pixels
CLIP_FRAMES, CLIP_FPS = 24, 12
ANNOTATORS = {
    "image": ["gmsd", "mdsi", "haarpsi"],
    "video": ["frame_gmsd", "frame_mdsi", "frame_haarpsi"],
}
STEPS = {
    "image": [None, ("gaussian_blur", 2), ("white_noise", 3), ("jpeg", 5), ("lens_blur", 4)],
    "video": [None, ("gaussian_blur", 4), ("stutter", 3), ("h264_compression", 5)],
}


def make_smoke_data(folder: Path) -> Path:
    """Writes the data set, unless it is there already.

    Args:
        folder (`Path`): where; appears only when it is complete.

    Returns:
        `Path`: `folder`.
    """
    if (folder / "README.md").exists():
        return folder
    rows = {"scoring": [], "pairwise": [], "distortion": []}
    for path in sorted(p for p in EXAMPLES.iterdir() if p.suffix in (".jpg", ".mp4")):
        variants = _variants(path)
        rows["scoring"] += variants
        rows["pairwise"] += [_pair(a, b) for a, b in zip(variants, variants[1:], strict=False)]
        rows["distortion"] += [_tagged(variant) for variant in variants]
    names = sorted({name for names in ANNOTATORS.values() for name in names})
    splits = ("train", "validation")
    with whole_folder(folder) as unfinished:
        for name, items in rows.items():
            (unfinished / "data" / name).mkdir(parents=True)
            for split in splits:
                chosen = [row for row in items if row["split"] == split]
                table = Dataset.from_list(chosen, features=row_features(name, names))
                table.to_parquet(unfinished / "data" / name / f"{split}.parquet")
        files = {name: {split: f"data/{name}/{split}.parquet" for split in splits} for name in rows}
        (unfinished / "README.md").write_text(card_text(files), encoding="utf-8")
    return folder


def _variants(path: Path) -> list[dict]:
    """The scoring rows of one example: itself and its distorted copies."""
    media = load_media(path)
    modality = "image" if isinstance(media, PILImage.Image) else "video"
    if modality == "image":
        original = _shrink(np.asarray(media), LONG_SIDE[modality])
    else:
        frames = media.get_frames(np.linspace(0, media.num_frames - 1, CLIP_FRAMES).astype(int))
        original = np.stack([_shrink(frame, LONG_SIDE[modality]) for frame in frames])
    rows = []
    for step in STEPS[modality]:
        rng = np.random.default_rng(0)
        item = original
        if step and modality == "image":
            item = distort_image(original, *step, rng)
        elif step:
            item = distort_clip(original, *step, rng)
        opinions = annotate_item(item, original, ANNOTATORS[modality])
        target = pmod(np.array([list(opinions.values())]))
        rows.append(_scoring_row(path.stem, modality, item, step, opinions, target))
    return rows


def _scoring_row(
    stem: str, modality: str, item: np.ndarray, step: tuple[str, int] | None, opinions: dict[str, float], target: PMOD
) -> dict:
    name, severity = step or (None, None)
    file = {"bytes": _encode(item), "path": None}
    mean = float(target.mean[0])
    return {
        "id": f"{stem}-{name or 'original'}-{severity or 0}",
        **media_columns(modality, [file], [score_text(modality, mean)]),
        "content_id": stem,
        "split": "validation" if stem in HELD_OUT else "train",
        "source": "spaces_demo/examples",
        "license": "see spaces_demo/examples/ATTRIBUTION.md",
        "provenance": {"name": stem, "sha256": None, "details": None, "steps": []},
        "annotators": opinions,
        "annotator_errors": [],
        "n_opinions": len(opinions),
        "mos": mean,
        "std": float(target.std[0]),
        "level_probs": target.level_probs[0].tolist(),
        "distortion": {"type": name, "family": DISTORTIONS[name].family if name else None, "severity": severity},
    }


def _pair(a: dict, b: dict) -> dict:
    probability = preference_probability(a["mos"], a["std"], b["mos"], b["std"])
    twice = ("annotators", "annotator_errors", "n_opinions", "mos", "std", "level_probs", "distortion")
    both = {name: [a[name], b[name]] for name in twice}
    both |= {name: a[name] + b[name] for name in ("images", "videos", "messages")}
    pair = {"id": f"{a['id']} or {b['id']}", "preference": preference_of(probability), "preference_prob": probability}
    return {**a, **both, **pair}


def _tagged(row: dict) -> dict:
    distortion = row["distortion"]
    words = tag(distortion["type"], distortion["severity"]) if distortion["type"] else "none"
    opinions = ("annotators", "annotator_errors", "n_opinions", "mos", "std", "level_probs")
    kept = [name for name in row if name not in opinions]
    text = distortion_text(row["modality"], words)
    return {**{name: row[name] for name in kept}, "messages": turns(row["modality"], [text])}


def _shrink(picture: np.ndarray, long_side: int) -> np.ndarray:
    """uint8 `[H, W, 3]`, both sides even, as H.264 wants them."""
    scale = long_side / max(picture.shape[:2])
    size = [2 * round(side * scale / 2) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _encode(item: np.ndarray) -> bytes:
    file = io.BytesIO()
    if item.ndim == 3:
        PILImage.fromarray(item).save(file, format="PNG")
        return file.getvalue()
    import av

    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=CLIP_FPS, options={"crf": "10", "threads": "1"})
        stream.height, stream.width = item.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in item:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write")
    make_smoke_data(parser.parse_args().folder)
