"""From a result of the suite `tiny` to the data of a card and the page of models."""

import json
from pathlib import Path
from typing import Any

from model_cards.models_page import PAGE, check_markers, write_models_page
from model_cards.render import DATA, CardError


TRAINING = ("core_hours", "gpu_hours", "pictures", "photos_by_license")
"""What a card says of training: see `training.tiny.cost`."""


def record(name: str, result: Path, training: Path | None = None, data: Path = DATA, page: Path = PAGE) -> list[Path]:
    """Writes what a model's card and the page of models show.

    Args:
        name (`str`): of the zoo.
        result (`Path`): `result.json` of `python -m training.suite --output`, for this model.
        training (`Path`, *optional*): `cost.json` of `make tiny`, with the keys `TRAINING`. Without it the card has
            neither cost nor licences.
        data, page (`Path`, *optional*): folder of the cards' data, and the page.

    Returns:
        `list[Path]`: what was written.

    Raises:
        CardError: if a file is no such JSON, or the page has no markers.
    """
    results = _read(result, ("suite", "rows", "orders", "pairs"))
    results.pop("model", None)
    if training is not None:
        cost = _read(training, TRAINING)
        results["training"] = {key: cost[key] for key in TRAINING}
    check_markers(page)
    path = data / f"{name}.json"
    path.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    write_models_page(page, data)
    return [path, page]


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(f"{path} cannot be read as JSON: {error}") from error
    missing = [key for key in keys if not isinstance(found, dict) or key not in found]
    if missing:
        raise CardError(f"{path} has no {', '.join(missing)}")
    return found
