"""`vital score --map` and `--curve`: where in a picture, and when in a clip, quality is bad."""

import argparse
import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spreadsheet import CsvWriter
from ..whole_files import whole_file, write_whole
from .errors import UsageError
from .scoring import Read


if TYPE_CHECKING:
    import numpy as np


MAX_STEM_BYTES = 120  # of a file system's 255, with room for what is put after it

logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--map` and `--curve` to a subcommand that scores files."""
    parser.add_argument(
        "--map",
        type=Path,
        metavar="DIR",
        help="also write a heat map of each picture: its quality place by place, the worst one framed",
    )
    parser.add_argument(
        "--curve",
        type=Path,
        metavar="DIR",
        help="also write for each clip its quality second by second: a table (CSV), a plot (SVG), and the worst frame "
        "(PNG)",
    )


class Locator:
    """Writes the maps and curves that were asked for.

    Args:
        model (`VitalForConditionalGeneration`, *optional*): `None` where nothing can be scored.
        maps, curves (`Path`, *optional*): folders, which are there; `None`: not asked for.
        timeout_s (`float`): seconds that reading one file again may take.
        repeated (`Collection[str]`): names, by `plain_name` and `casefold`, that several files of this run have.

    Raises:
        UsageError: for a model without a decoder.
    """

    def __init__(
        self,
        model: Any,
        maps: Path | None,
        curves: Path | None,
        timeout_s: float,
        repeated: Collection[str],
    ):
        self._model, self._folders = model, {"image": maps, "video": curves}
        self._timeout_s, self._repeated = timeout_s, repeated
        wanted = [folder for folder in (maps, curves) if folder is not None]
        if wanted and model is not None and not hasattr(model, "encode_media"):
            raise UsageError("--map and --curve need a model with a decoder; a linear probe has none")

    def write(self, scored: Iterable[tuple[Read, dict[str, Any]]]) -> None:
        """Writes the files for records of `vital score`; those with an error have none.

        Args:
            scored (`Iterable[tuple[Read, dict]]`): what was read, with the pixels of pictures, and its record.

        Raises:
            UsageError: if a file cannot be written.
        """
        from ..media_vital import MediaError

        for read, record in scored:
            folder = self._folders.get(record["modality"])
            if record["error"] is not None or folder is None:
                continue
            stem = folder / output_stem(record["path"], self._repeated)
            try:
                if record["modality"] == "image":
                    self._write_map(read, stem)
                else:
                    self._write_curve(record, stem)
            except MediaError as error:  # too short for the checkpoint, too large for the device, or changed since
                logger.warning("no map or curve of %s: %s", record["path"], error)
            except OSError as error:
                raise UsageError(f"{str(stem)!r} cannot be written: {error.strerror or error}") from error

    def _write_map(self, read: Read, stem: Path) -> None:
        from PIL import Image

        from ..local_quality import draw_map, quality_map

        pixels = read.picture
        if pixels is None:  # too large to be held while its batch was scored
            pixels = next(self._again(read.item.path, load_pixels))
        picture = Image.fromarray(pixels)
        drawn = draw_map(picture, quality_map(self._model, picture))
        with whole_file(Path(f"{stem}.map.png")) as unfinished:
            drawn.save(unfinished)

    def _again(self, path: str, load: Callable[[str], Any]) -> Iterator[Any]:
        """Yields what `load`, a generator, gives for a file, by a worker with a time limit.

        Raises:
            MediaError: if it cannot be read.
        """
        from ..reading import read_ahead

        with read_ahead([path], load, workers=1, timeout_s=self._timeout_s) as reader:
            _, parts = next(reader)
            if isinstance(parts, Exception):
                raise parts
            yield from parts

    def _write_curve(self, record: dict[str, Any], stem: Path) -> None:
        from PIL import Image

        from ..curve_frames import CurveFrames
        from ..local_quality import curve_svg, read_curve

        path, reader = record["path"], CurveFrames(self._model.processor.cutter)
        # A curve looks at many more frames than a score: they come one by one, and not with the media of a batch.
        curve = read_curve(self._model, self._again(path, reader), lambda: record["score"])
        with (
            whole_file(Path(f"{stem}.curve.csv")) as unfinished,
            open(unfinished, "w", newline="", encoding="utf-8") as file,
        ):
            writer = CsvWriter(file)
            writer.writerow(["start_s", "end_s", "score", "clip_score", "frame_score"])
            for point in curve.points:
                values = (point.start_s, point.end_s, point.score, point.clip_score, point.frame_score)
                writer.writerow([f"{value:.4f}" for value in values])
        write_whole(Path(f"{stem}.curve.svg"), curve_svg(curve))
        frame = next(self._again(path, partial(load_pixels, frame=curve.worst_frame)))
        with whole_file(Path(f"{stem}.worst-{curve.worst_frame_s:.2f}s.png")) as unfinished:
            Image.fromarray(frame).save(unfinished)


def load_pixels(path: str, frame: int | None = None) -> "Iterator[np.ndarray]":
    """Yields a picture, or one frame of a clip, as uint8 `[height, width, 3]`; what a worker does.

    Raises:
        MediaError: if it cannot be read.
    """
    import numpy as np
    from PIL import Image

    from ..media_vital import load_media

    media = load_media(path)
    yield np.asarray(media) if isinstance(media, Image.Image) else media.get_frames([frame or 0])[0]


def output_stem(path: str, repeated: Collection[str] = ()) -> str:
    """Stem of the outputs for a file: its name; where others have it too, also a part of the hash of where it is.

    Args:
        path (`str`): the file; the same one gets the same name again.
        repeated (`Collection[str]`, *optional*): names, by `plain_name` and `casefold`, that several files have.
    """
    name = plain_name(path)
    if name.casefold() not in repeated:
        return name
    return f"{name}-{hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:12]}"


def plain_name(path: str) -> str:
    """The name of a file as every file system takes it.

    Args:
        path (`str`): the file.
    """
    name = os.fsencode(os.path.basename(path))[:MAX_STEM_BYTES].decode("utf-8", errors="ignore")
    kept = "".join(char if char.isprintable() and char not in '\\/:*?"<>|' else "_" for char in name)
    return kept.lstrip(".") or "file"
