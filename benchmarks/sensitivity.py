"""Sensitivity of a score to changes that nobody sees: `python -m benchmarks.sensitivity docs/scores.md`.

Writes the tables between the markers of the page, for the model and the photos given.
"""

import argparse
import io
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from modeling_vital import VitalForConditionalGeneration, load_media
from modeling_vital.evaluation.result_tables import aligned


BEGIN, END = "<!-- sensitivity:begin -->\n", "<!-- sensitivity:end -->"
LINE = 125  # of a page
EXAMPLES = Path(__file__).parents[1] / "spaces_demo" / "examples"
_SEED = 0


def _saved(kind: str, **options: int) -> Callable[[Image.Image], Image.Image]:
    def again(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        return load_media(file.getvalue())

    return again


def _cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    def crop(picture: Image.Image) -> Image.Image:
        left, top = (max(round(share * side), 1) for side in picture.size)
        return picture.crop((left, top, picture.width - left, picture.height - top))

    return crop


def _scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    def scale(picture: Image.Image) -> Image.Image:
        size = [max(round(factor * side), 1) for side in picture.size]
        return picture.resize(size, Image.Resampling.LANCZOS)

    return scale


def _shifted(picture: Image.Image) -> Image.Image:
    """Without its first row and column, which moves all that is left by one pixel against the grid of tiles."""
    return picture.crop((1, 1, picture.width, picture.height))


def _noisy(picture: Image.Image) -> Image.Image:
    pixels = np.asarray(picture, dtype=np.float64)
    noise = np.random.default_rng(_SEED).normal(0, 10, pixels.shape)
    return Image.fromarray((pixels + noise).round().clip(0, 255).astype(np.uint8))


UNSEEN = {
    "shifted by one pixel": _shifted,
    "1 % cut off each side": _cropped(0.01),
    "JPEG, quality 95": _saved("JPEG", quality=95),
    "WebP, quality 95": _saved("WEBP", quality=95),
    "PNG": _saved("PNG"),
}
"""Changes that people do not see."""

SEEN = {
    "5 % cut off each side": _cropped(0.05),
    "scaled to 95 %": _scaled(0.95),
    "scaled to 75 %": _scaled(0.75),
    "scaled to 50 %": _scaled(0.5),
    "scaled to 150 %": _scaled(1.5),
    "JPEG, quality 50": _saved("JPEG", quality=50),
    "JPEG, quality 20": _saved("JPEG", quality=20),
    "blurred, radius 1": lambda picture: picture.filter(ImageFilter.GaussianBlur(1)),
    "noise, standard deviation 10 of 255": _noisy,
}
"""Changes to compare with: another framing or size, and damage."""


def measure(model: VitalForConditionalGeneration, pictures: Sequence[Image.Image]) -> dict[str, np.ndarray]:
    """Differences of scores, changed less unchanged.

    Args:
        model (`VitalForConditionalGeneration`): ready to score.
        pictures (`Sequence[Image.Image]`): RGB, all larger than a few pixels.

    Returns:
        `dict[str, np.ndarray]`: change -> a difference for each picture, in their order.
    """
    before = np.array([result.score for result in model.score(list(pictures))])
    changes = {**UNSEEN, **SEEN}
    return {
        name: np.array([result.score for result in model.score([change(picture) for picture in pictures])]) - before
        for name, change in changes.items()
    }


def table(name: str, differences: dict[str, np.ndarray]) -> str:
    """The differences as Markdown, with what follows from those that people do not see.

    Args:
        name (`str`): of the model.
        differences (`dict`): what [`measure`] returns.
    """
    count = len(next(iter(differences.values())))
    lines = ["| change | mean difference | mean size | 95 in 100 below |", "|---|---:|---:|---:|"]
    for change, values in differences.items():
        sizes = np.abs(values)
        lines.append(f"| {change} | {values.mean():+.3f} | {sizes.mean():.3f} | {np.quantile(sizes, 0.95):.3f} |")
    unseen = np.abs(np.concatenate([differences[change] for change in UNSEEN if change != "PNG"]))
    half, most = np.quantile(unseen, [0.5, 0.95])
    advice = (
        f"A shift by a pixel, a margin of 1 %, or saving at quality 95, which nobody sees, moves a score by "
        f"{half:.3f} in the middle and by less than {most:.3f} in 95 of 100 cases. **Of two files that differ in such "
        f"things, a difference below {most:.2f} says nothing.**"
    )
    head = f"`{name}`, {count} pictures (the example photos and their quarters):"
    return "\n".join([head, "", *lines, "", textwrap.fill(advice, LINE), ""])


def pictures_of(folder: Path) -> list[Image.Image]:
    """The photos of a folder and the quarters of each.

    Raises:
        SystemExit: if there are none.
    """
    photos = [load_media(path) for path in sorted(folder.glob("*.jpg"))]
    if not photos:
        sys.exit(f"{folder} holds no .jpg file; give a folder with photos.")
    parts = []
    for photo in photos:
        x, y = photo.width // 2, photo.height // 2
        parts += [photo.crop((left, top, left + x, top + y)) for left in (0, x) for top in (0, y)]
    return photos + parts


def put(page: str, text: str, begin: str = BEGIN, end: str = END) -> str:
    """A page with a text between its markers.

    Raises:
        ValueError: if the markers are not there.
    """
    if page.count(begin) != 1 or end not in page.partition(begin)[2]:
        raise ValueError(f"the page has no {begin.strip()} ... {end}")
    before, _, rest = page.partition(begin)
    return before + begin + "\n" + text + "\n" + end + rest.partition(end)[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints, and writes into a page where one is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", nargs="?", type=Path, help="a page to put the tables in, between its markers")
    parser.add_argument("--model", default="vital-tiny", help="a name of the zoo, a folder or a Hub id")
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="a folder of .jpg files")
    args = parser.parse_args(argv)
    model = VitalForConditionalGeneration.from_pretrained(args.model).eval()
    differences = measure(model, pictures_of(args.photos))
    text = table(args.model, differences)
    if args.page:
        args.page.write_text(put(args.page.read_text(encoding="utf-8"), text), encoding="utf-8")
    rows = [("change", "mean", "95 %")]
    rows += [(n, f"{v.mean():+.4f}", f"{np.quantile(np.abs(v), 0.95):.4f}") for n, v in differences.items()]
    sys.stdout.write("\n".join(aligned(rows)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
