"""The sample pictures of a data set's card: some originals beside their distorted versions."""

import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

from dataset_scripts.validator import DATA_DIR


CONTENTS, VERSIONS = 3, 4
SIDE_PX, CAPTION_PX = 240, 34
NAME = "samples.jpg"
_ROWS = 64
_COLUMNS = ["content_id", "modality", "images", "mos", "license", "provenance"]


def draw_samples(folder: Path, plots: str) -> dict[str, str]:
    """Draws versions of the first originals, each with its mean opinion and what was done to it.

    Args:
        folder (`Path`): of the data set.
        plots (`str`): folder in it where the picture goes.

    Returns:
        `dict[str, str]`: path below `folder` -> what it shows and of which licences, in words; empty where the
        configuration `scoring` has no picture.
    """
    versions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(folder):
        if row["images"] and len(versions[row["content_id"]]) < VERSIONS:
            versions[row["content_id"]].append(row)
    chosen = sorted((rows for rows in versions.values() if rows), key=len, reverse=True)[:CONTENTS]
    if not chosen:
        return {}
    sheet = Image.new("RGB", (VERSIONS * SIDE_PX, len(chosen) * (SIDE_PX + CAPTION_PX)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, rows in enumerate(chosen):
        for column, row in enumerate(rows):
            left, top = column * SIDE_PX, line * (SIDE_PX + CAPTION_PX)
            picture = Image.open(io.BytesIO(row["images"][0]["bytes"])).convert("RGB")
            picture.thumbnail((SIDE_PX - 8, SIDE_PX - 8))
            sheet.paste(picture, (left + (SIDE_PX - picture.width) // 2, top + (SIDE_PX - picture.height) // 2))
            draw.text((left + 6, top + SIDE_PX), caption(row), fill="black", font=font)
    (folder / plots).mkdir(parents=True, exist_ok=True)
    sheet.save(folder / plots / NAME, quality=85)
    sources = "; ".join(dict.fromkeys(f"{rows[0]['provenance']['name']} ({rows[0]['license']})" for rows in chosen))
    return {f"{plots}/{NAME}": f"Versions of an original in a row, each with its `mos`. Originals: {sources}."}


def caption(row: dict[str, Any]) -> str:
    """A row's mean opinion and what was done to its picture, a line a distortion."""
    (steps,) = row["provenance"]["steps"]
    what = "\n+ ".join(f"{step['type']} {step['severity']}" for step in steps) or "original"
    return f"{row['mos']:.2f}: {what}" if row["mos"] is not None else what


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The first rows of the configuration `scoring`."""
    for path in sorted((folder / DATA_DIR / "scoring").glob("*.parquet"))[:1]:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_ROWS, columns=_COLUMNS):
            yield from batch.to_pylist()
            return


__all__ = ["draw_samples"]
