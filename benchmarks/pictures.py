"""Makes the pictures that README and docs/ show from the examples: `python -m benchmarks.pictures`.

Written to `docs/images`: a photo with a blurred part, the picture README opens with, a map, a curve, and screenshots
of the report and the demo in headless Chromium.
"""

import argparse
import contextlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from modeling_vital import VitalForConditionalGeneration, load_media
from modeling_vital.cli.main import main as vital
from modeling_vital.local_quality import curve_svg, draw_map, quality_curve, quality_map
from modeling_vital.zoo import DEFAULT_MODEL


ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "spaces_demo" / "examples"
PHOTO, CLIP = "beach-jetty.jpg", "office-tower-at-night.mp4"
BLURRED = "beach-jetty-blurred.jpg"
RADIUS = 3  # pixels
PANEL_PX, GAP_PX, CAPTION_PX = 440, 12, 44
SHOT = {"width": 1180, "height": 900}


def blur_part(photo: Image.Image) -> Image.Image:
    """A photo whose right third is blurred, with a soft edge."""
    ramp = np.interp(np.linspace(0, 1, photo.width), [0.6, 0.7], [0, 255]).astype(np.uint8)
    mask = Image.fromarray(np.repeat(ramp[None], photo.height, axis=0))
    return Image.composite(photo.filter(ImageFilter.GaussianBlur(RADIUS)), photo, mask)


def blur_second(frames: np.ndarray, fps: float) -> np.ndarray:
    """Frames `[T, H, W, 3]` of which those of the middle second are blurred."""
    start = max(round(len(frames) / 2 - fps / 2), 0)
    damaged = frames.copy()
    for index in range(start, min(start + round(fps), len(frames))):
        damaged[index] = np.asarray(Image.fromarray(frames[index]).filter(ImageFilter.GaussianBlur(RADIUS)))
    return damaged


def side_by_side(panels: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    """Pictures of one height in a row on white, with a line of words below each."""
    font = ImageFont.load_default(24)
    height = max(picture.height for picture, _ in panels)
    width = sum(picture.width for picture, _ in panels) + GAP_PX * (len(panels) - 1)
    page = Image.new("RGB", (width, height + CAPTION_PX), "white")
    draw, left = ImageDraw.Draw(page), 0
    for picture, words in panels:
        page.paste(picture, (left, 0))
        middle = left + (picture.width - draw.textlength(words, font)) / 2
        draw.text((middle, height + 6), words, fill="black", font=font)
        left += picture.width + GAP_PX
    return page


def hero(model: VitalForConditionalGeneration, photo: Image.Image, blurred: Image.Image) -> Image.Image:
    """A photo, the same with a part blurred, and the map of that, with their scores."""
    scores = [result.score for result in model.score([photo, blurred])]
    local = quality_map(model, blurred)
    size = (PANEL_PX, round(PANEL_PX * photo.height / photo.width))
    drawn = draw_map(blurred, local)
    drawn = drawn.resize((round(drawn.width * size[1] / drawn.height), size[1]), Image.Resampling.LANCZOS)
    return side_by_side(
        [
            (photo.resize(size, Image.Resampling.LANCZOS), f"score {scores[0]:.2f}"),
            (blurred.resize(size, Image.Resampling.LANCZOS), f"right third blurred: {scores[1]:.2f}"),
            (drawn, "where it is bad"),
        ]
    )


def curve(model: VitalForConditionalGeneration) -> str:
    """The curve of the example clip with its middle second blurred, as SVG."""
    clip = load_media(str(EXAMPLES / CLIP))
    frames = blur_second(clip.get_frames(range(clip.num_frames)), clip.fps)
    return curve_svg(quality_curve(model, load_media(frames, fps=clip.fps)), "A clip whose middle second is blurred")


@contextlib.contextmanager
def browser_page() -> Iterator[Callable[[str], object]]:
    """A function that opens an address in headless Chromium and returns the page."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise SystemExit(
            f"Screenshots need playwright ({error}): pip install -e '.[dev]', or give --no-shots"
        ) from None
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("Screenshots need Chromium (Debian: apt-get install chromium); or give --no-shots")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=120_000)
        page = browser.new_page(viewport=SHOT)
        page.set_default_timeout(120_000)
        yield lambda address: (page.goto(address), page)[1]
        browser.close()


def shoot_report(output: Path) -> None:
    """A screenshot of the report about the examples and the blurred photo, `report.png`."""
    with tempfile.TemporaryDirectory() as folder, browser_page() as visit:
        shown = Path(folder) / "holiday"
        shutil.copytree(EXAMPLES, shown, ignore=shutil.ignore_patterns("*.md"))
        shutil.copy(output / BLURRED, shown)
        report = Path(folder) / "report.html"
        vital(["report", str(shown), "--output", str(report)])
        visit(report.as_uri()).screenshot(path=output / "report.png")


def shoot_demo(output: Path) -> None:
    """A screenshot of the demo with the blurred photo scored, `demo.png`."""
    from tests.fixtures.demo_server import run_demo

    with tempfile.TemporaryDirectory() as folder, browser_page() as visit, run_demo(Path(folder)) as address:
        page = visit(address)
        page.get_by_role("tab", name="Score", exact=True).first.wait_for()
        page.locator("#upload input[type=file]").first.set_input_files(str(output / BLURRED))
        page.locator("#result .value").wait_for()
        page.locator("#words").get_by_text(re.compile(r"guess: .*\.")).wait_for()
        page.locator("#shown img").wait_for()
        page.wait_for_timeout(1000)  # fades
        page.screenshot(path=output / "demo.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, default=ROOT / "docs" / "images", help="a folder")
    parser.add_argument("--no-shots", action="store_true", help="without the screenshots, which need a browser")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    model = VitalForConditionalGeneration.from_pretrained(DEFAULT_MODEL).eval()
    photo = load_media(str(EXAMPLES / PHOTO))
    blur_part(photo).save(args.output / BLURRED, quality=90)
    blurred = load_media(str(args.output / BLURRED))
    hero(model, photo, blurred).save(args.output / "hero.jpg", quality=88)
    draw_map(blurred, quality_map(model, blurred)).save(args.output / "map.jpg", quality=88)
    (args.output / "curve.svg").write_text(curve(model), encoding="utf-8")
    if not args.no_shots:
        shoot_report(args.output)
        shoot_demo(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
