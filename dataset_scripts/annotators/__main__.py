"""Lists the annotators, and on request lets each score something.

python -m dataset_scripts.annotators
python -m dataset_scripts.annotators --check PHOTO_OR_CLIP [--weights DIR]
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset_scripts.annotators import ANNOTATORS
from dataset_scripts.annotators.base import MissingPackageError
from dataset_scripts.annotators.human_scale import annotate_item
from dataset_scripts.annotators.weights import WEIGHTS_VARIABLE
from modeling_vital.media_vital import Clip, MediaError, load_media


_FRAMES = 60


def listing() -> str:
    """All annotators as a table, one a line, columns separated by tabs, with a head."""
    rows = [("name", "scores", "original", "raw range", "better", "version", "licence", "run by this project")]
    for name, annotator in ANNOTATORS.items():
        low, high = annotator.raw_range
        rows.append(
            (
                name,
                annotator.modality,
                "needed" if annotator.needs_reference else "not needed",
                f"{low:g} to {high:g}",
                "high" if annotator.higher_is_better else "low",
                annotator.version,
                annotator.license,
                annotator.run,
            )
        )
    return "".join("\t".join(row) + "\n" for row in rows)


def check(path: Path) -> str:
    """Runs every annotator of the modality on a photo or clip, itself taken as the original.

    Args:
        path (`Path`): photo, or clip of which the first 60 frames are used.

    Returns:
        `str`: one line an annotator: its name, and its score in [0, 1] or why it has none.

    Raises:
        MediaError: the file cannot be read.
    """
    media = load_media(path)
    modality = "video" if isinstance(media, Clip) else "image"
    pixels = media.get_frames(range(min(_FRAMES, len(media)))) if modality == "video" else np.asarray(media)
    lines = []
    for name in (name for name, annotator in ANNOTATORS.items() if annotator.modality == modality):
        reasons: dict[str, str] = {}
        try:
            said = f"{annotate_item(pixels, pixels, [name], reasons)[name]:.3f}"
        except MissingPackageError as error:
            reasons[name] = str(error)
        lines.append(f"{name}\t{reasons.get(name) or said}\n")
    return "".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: writes the table, or what each annotator says, to stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_scripts.annotators", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--check", type=Path, metavar="PHOTO_OR_CLIP", help="let every annotator that fits score this")
    parser.add_argument("--weights", type=Path, metavar="DIR", help=f"sets {WEIGHTS_VARIABLE}: the published weights")
    arguments = parser.parse_args(argv)
    if arguments.weights:
        os.environ[WEIGHTS_VARIABLE] = str(arguments.weights.resolve())
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    try:
        sys.stdout.write(listing() if arguments.check is None else check(arguments.check))
    except MediaError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
