"""From a result of the suite `tiny` to the data of a card and the table of README."""

import json
from pathlib import Path
from typing import Any

from model_cards.render import DATA, ROOT, CardError, measured_lines
from modeling_vital.zoo import DEFAULT_MODEL


TRAINING = ("core_hours", "gpu_hours", "pictures", "photos_by_license")
"""What a card says of training: see `training.tiny.cost`."""


def record(name: str, result: Path, training: Path | None = None, data: Path = DATA, root: Path = ROOT) -> list[Path]:
    """Writes what a model's card shows, and for the default model README's table.

    Args:
        name (`str`): of the zoo.
        result (`Path`): `result.json` of `python -m training.suite --output`, for this model.
        training (`Path`, *optional*): `cost.json` of `make tiny`, with the keys `TRAINING`. Without it the card has
            neither cost nor licences.
        data, root (`Path`, *optional*): folders of the cards' data and of README.md.

    Returns:
        `list[Path]`: what was written.

    Raises:
        CardError: if a file is no such JSON, or README has no markers.
    """
    results = _read(result, ("suite", "rows", "orders", "pairs"))
    results.pop("model", None)
    if training is not None:
        cost = _read(training, TRAINING)
        results["training"] = {key: cost[key] for key in TRAINING}
    written = [data / f"{name}.json"]
    if name == DEFAULT_MODEL:
        write_readme(results, root / "README.md")
        written.append(root / "README.md")
    written[0].write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return written


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(f"{path} cannot be read as JSON: {error}") from error
    missing = [key for key in keys if not isinstance(found, dict) or key not in found]
    if missing:
        raise CardError(f"{path} has no {', '.join(missing)}")
    return found


def numbers_table(results: dict[str, Any]) -> str:
    """The measured numbers of `vital-tiny` as the Markdown that README shows.

    Args:
        results (`dict`): what `training.tiny_suite.measure` returns.
    """
    held_out = ", ".join(name.replace("_", " ") for name in results["held_out_distortions"])
    table = "".join(f"| {what} | {value} | {goal} |\n" for what, value, goal in measured_lines(results))
    return (
        f"`{DEFAULT_MODEL}` on {results['photos']} photos and {results['clips']} clips, split by original. SRCC is "
        f"with the mean of {len(results['annotators'])} opinions;\nnever trained on: {held_out}. Intervals are 95 %, "
        f"bootstrapped over originals. `python -m training.suite` measures it again.\n\n"
        f"| what | measured | goal |\n|---|---|---|\n{table}"
    )


def write_readme(results: dict[str, Any], readme: Path) -> None:
    """Puts [`numbers_table`] between the `numbers` markers of a README.

    Raises:
        CardError: if the markers are not there.
    """
    text = readme.read_text(encoding="utf-8")
    begin, end = "<!-- numbers:begin -->\n", "<!-- numbers:end -->"
    if begin not in text or end not in text:
        raise CardError(f"{readme} lacks the lines {begin.strip()!r} and {end!r}.")
    head, rest = text.split(begin, 1)
    readme.write_text(f"{head}{begin}{numbers_table(results)}{end}{rest.split(end, 1)[1]}", encoding="utf-8")
