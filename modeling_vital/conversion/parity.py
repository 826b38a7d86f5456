"""Compares a checkpoint, converted, with numbers that the released code gave for it.

    python -m modeling_vital.conversion.parity FOLDER

FOLDER holds a checkpoint in the released layout and one file of numbers a case; `common/` beside it holds the pixels
and the ids that the cases were made with. Whatever is there is compared: any decoder, any sizes, any cases. Prints
the largest difference of every tensor of every case. Exit code: 0 all within tolerance, 1 something beyond it, 2 wrong
use.
"""

import argparse
import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from ..modeling_vital import VitalForConditionalGeneration
from .convert import carry_out, prepare
from .errors import ConversionError, ConversionUsageError
from .parity_case import Case, Constants, find_cases, read_scores
from .parity_numbers import Tensors, compute_scores, find_tensor, run_case
from .source import open_source


LOGIT_TOLERANCE, SCORE_TOLERANCE = 1e-4, 1e-5
EXIT_BEYOND, EXIT_USAGE = 1, 2


@dataclass(frozen=True)
class Difference:
    """The largest difference of one tensor of one case.

    Attributes:
        case, tensor (`str`): which.
        largest (`float`, *optional*): of the absolute differences; NaN if a number is not one, infinite if the shapes
            differ. `None`: nothing here computes it, as the slow pathway, which never reaches a score.
        tolerance (`float`): what it may be.
    """

    case: str
    tensor: str
    largest: float | None
    tolerance: float

    @property
    def beyond(self) -> bool:
        """`True` if the deviation exceeds the tolerance or is NaN."""
        return self.largest is not None and not self.largest <= self.tolerance


def largest_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest absolute difference; infinite if the shapes differ, NaN if a number is not one."""
    return (ours.double() - theirs.double()).abs().max().item() if ours.shape == theirs.shape else math.inf


def compare_tensors(
    case: Case, seen: Tensors, model: VitalForConditionalGeneration, constants: Constants
) -> Iterator[Difference]:
    """Compares every output in a case's file.

    Logits and features may differ by `LOGIT_TOLERANCE`; features with values beyond 10 in proportion, because single
    precision has no more digits.

    Yields:
        `Difference`: one a tensor.
    """
    for name, theirs in sorted(case.tensors.items()):
        if name in case.INPUTS:
            continue
        ours = find_tensor(name, theirs, seen, model, constants.levels)
        scale = 1.0 if name.startswith("logits") else max(1.0, theirs.abs().max().item() / 10)
        largest = None if ours is None else largest_difference(ours, theirs)
        yield Difference(case.name, name, largest, LOGIT_TOLERANCE * scale)


def compare_scores(case: Case, ours: dict[str, dict]) -> Iterator[Difference]:
    """Compares the numbers of `scores.json` at one position after the other: logits, probabilities, scores.

    Yields:
        `Difference`: one a number or list of numbers.
    """
    for position, numbers in case.scores.items():
        for name, theirs in numbers.items():
            tolerance = LOGIT_TOLERANCE if "logits" in name else SCORE_TOLERANCE
            mine = ours.get(position, {}).get(name)
            largest = None if mine is None else largest_difference(mine, torch.as_tensor(theirs))
            yield Difference(case.name, f"{position}/{name}", largest, tolerance)


def check_case(model: VitalForConditionalGeneration, case: Case, constants: Constants) -> Iterator[Difference]:
    """Runs one case and compares everything that its files hold.

    Yields:
        `Difference`: one a tensor.
    """
    seen = run_case(model, case, constants)
    yield from compare_tensors(case, seen, model, constants)
    yield from compare_scores(case, compute_scores(model, case, seen, constants.levels))


def check_folder(folder: Path, numbers: Path | None = None) -> Iterator[Difference]:
    """Converts the checkpoint of a folder, in a temporary place, and compares every case.

    Args:
        folder (`Path`): with a checkpoint in the released layout, and `common/` beside it.
        numbers (`Path`, *optional*): folder of the case files; `folder` by default.

    Yields:
        `Difference`: one a tensor and case.

    Raises:
        ConversionError: if the checkpoint cannot be converted.
        ConversionUsageError: if the folder is not laid out as it has to be.
    """
    numbers = numbers or folder
    for needed in (folder, numbers):
        if not needed.is_dir():
            raise ConversionUsageError(f"There is no folder {str(needed)!r}.")
    common = Path(os.path.abspath(numbers)).parent / "common"
    constants = Constants.read(common)
    cases = find_cases(numbers, common)
    with tempfile.TemporaryDirectory(prefix="vital-parity-") as place:
        # Without the tokenizer: the cases have ids.
        converted = carry_out(prepare(open_source(str(folder))), Path(place) / "converted")
        model = VitalForConditionalGeneration.from_pretrained(converted, dtype=torch.float32).eval()
        if max(*constants.levels, constants.context_id) >= model.config.text_config.vocab_size:
            raise ConversionUsageError(f"{common} is of another vocabulary: its ids are beyond the decoder's.")
        for case in cases:
            yield from check_case(model, case, constants)
    for name in sorted(set(read_scores(numbers)) - {case.name for case in cases}):
        yield Difference(name, "scores without a case file", None, SCORE_TOLERANCE)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point, see the top of this file.

    Args:
        argv (`Sequence[str]`, *optional*): the arguments; those of the process by default.

    Returns:
        `int`: the exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m modeling_vital.conversion.parity",
        description="Converts a checkpoint of the released layout and compares it with the released code's numbers "
        "for it: features, logits, level probabilities and scores, in single precision.",
        epilog="Exit code: 0 all within tolerance, 1 something beyond it, 2 wrong use.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="checkpoint and case files; common/ is beside it")
    parser.add_argument(
        "--numbers", type=Path, metavar="FOLDER", help="take the case files from this folder (default: FOLDER itself)"
    )
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed its help or its complaint
        return int(stop.code or 0)
    logging.basicConfig(level=logging.ERROR, format="parity: %(message)s")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return _report(check_folder(args.folder, args.numbers))
    except ConversionError as error:
        sys.stderr.write(f"parity: {error}\n")
        return EXIT_USAGE


def _report(differences: Iterable[Difference]) -> int:
    """Prints the differences as they come, and returns the exit code."""
    write = sys.stdout.write
    case, counts = None, {"ok": 0, "BEYOND": 0, "not compared": 0}
    for difference in differences:
        if difference.case != case:
            case = difference.case
            write(f"{case}\n")
        verdict = "not compared" if difference.largest is None else "BEYOND" if difference.beyond else "ok"
        counts[verdict] += 1
        number = "" if difference.largest is None else f"{difference.largest:.2e}"
        limit = f" {difference.tolerance:.1e}" if difference.beyond else ""
        write(f"  {difference.tensor:<60} {number:>9}  {verdict}{limit}\n")
        sys.stdout.flush()
    write(f"{', '.join(f'{count} {verdict}' for verdict, count in counts.items())}\n")
    return EXIT_BEYOND if counts["BEYOND"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
