"""The page `docs/models.md`: tables of the zoo from configurations, measured numbers and benchmarks."""

import json
from pathlib import Path
from typing import Any

from model_cards.render import (
    DATA,
    ROOT,
    CardError,
    license_of,
    measured_lines,
    read_measured,
)
from modeling_vital import zoo
from modeling_vital.zoo import DEFAULT_MODEL, presets


PAGE = ROOT / "docs" / "models.md"
RESULTS = ROOT / "benchmarks" / "results"
ZOO, NUMBERS = "zoo", "numbers"
_ACCURACY = {"in_domain": "known damage", "held_out_distortions": "unknown damage", "video": "clips"}
_FROM_FILES = "from files, start included"
_NONE = "-"


def write_models_page(page: Path = PAGE, data: Path = DATA) -> None:
    """Puts the tables between their markers.

    Args:
        page, data (`Path`, *optional*): the page, and the folder of the cards' data.

    Raises:
        CardError: if the page lacks a marker.
    """
    text = _put(check_markers(page), ZOO, zoo_tables(data))
    measured = read_measured(DEFAULT_MODEL, data)
    if measured is not None:
        text = _put(text, NUMBERS, numbers_table(measured))
    page.write_text(text, encoding="utf-8")


def zoo_tables(data: Path = DATA, results: Path = RESULTS) -> str:
    """The models with sizes, speed and origin, and how well those that were measured follow the suite's opinions."""
    entries = [presets.entry(name) for name in zoo.NAMES]
    lines = [
        "| name | parameters | memory, bf16 | a photo on a CPU | photos a second on a GPU | licence | how to get it |"
    ]
    lines.append("|---|---:|---:|---:|---:|---|---|")
    cpu, gpu = _cpu_seconds(results), _gpu_photos(results)
    for entry in entries:
        cells = [
            f"`{entry.name}`",
            presets.format_parameters(entry.parameters["total"]),
            presets.format_memory(entry.memory_bytes["bf16"]),
            f"{cpu[entry.name]:.2g} s" if entry.name in cpu else _NONE,
            f"{gpu[entry.name]:.3g}" if entry.name in gpu else _NONE,
            license_of(entry.name, read_measured(entry.name, data)),
            entry.weights,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_machines(results), "", *_accuracy(data), ""])


def _accuracy(data: Path) -> list[str]:
    measured = {name: read_measured(name, data) for name in zoo.NAMES}
    lines = [
        f"| SRCC with the suite's opinions | {' | '.join(_ACCURACY.values())} |",
        "|---|" + "---:|" * len(_ACCURACY),
    ]
    for name, found in measured.items():
        if found is not None:
            rows = {row["subset"]: row for row in found["rows"]}
            cells = [
                "{srcc:.2f} ({low:.2f} to {high:.2f})".format(**rows[subset]) if subset in rows else _NONE
                for subset in _ACCURACY
            ]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def _cpu_seconds(results: Path) -> dict[str, float]:
    """Seconds a photo by model, where they were measured."""
    found = {}
    if others := _read(results / "others.json"):
        found[others["model"]] = others["metrics"][0]["ms"] / 1000
    if scoring := _read(results / "scoring.json"):
        found[f"vital-{scoring['result']['size']}"] = scoring["result"]["one photo"]["times"]["ours"]["wall_s"]
    return found


def _gpu_photos(results: Path) -> dict[str, float]:
    """Photos a second from files by model, where they were measured."""
    parts = (_read(results / "gpu.json") or {}).get("parts", {})
    speeds = {name: parts.get(f"scoring, {name.removeprefix('vital-')}, 7 tiles", {}) for name in zoo.NAMES}
    speeds = {name: part.get("result", {}).get("items_per_s", {}).get(_FROM_FILES) for name, part in speeds.items()}
    return {name: speed for name, speed in speeds.items() if speed is not None}


def _machines(results: Path) -> list[str]:
    said = []
    others, scoring, gpu = (_read(results / f"{name}.json") for name in ("others", "scoring", "gpu"))
    if others:
        said.append(
            f"`{others['model']}` on a CPU: a photo 512 pixels wide, one thread of {others['machine']['cpu']}."
        )
    if scoring:
        about = scoring["machine"]
        said.append(
            f"`vital-{scoring['result']['size']}` on a CPU: the photo of `make speed`, {about['threads']} threads of "
            f"{about['cpu']}, random weights of that size."
        )
    device = (gpu or {}).get("parts", {}).get("machine", {}).get("result", {}).get("gpu")
    if device:
        said.append(f"On a GPU: photos of seven tiles {_FROM_FILES}, {device}.")
    else:
        said.append("No GPU result is kept here: `make speed-gpu` measures yours.")
    return said


def numbers_table(results: dict[str, Any]) -> str:
    """All measured numbers of a model, with the goals that were set.

    Args:
        results (`dict`): what `training.suite.measurement.measure` returns.
    """
    held_out = ", ".join(name.replace("_", " ") for name in results["held_out_distortions"])
    table = "".join(f"| {what} | {value} | {goal} |\n" for what, value, goal in measured_lines(results))
    return (
        f"`{DEFAULT_MODEL}` on {results['photos']} photos and {results['clips']} clips, split by original. SRCC is "
        f"with the mean of {len(results['annotators'])} machine opinions;\nnever trained on: {held_out}. Intervals "
        f"are 95 %, bootstrapped over originals. `python -m training.suite` measures it again.\n\n"
        f"| what | measured | goal |\n|---|---|---|\n{table}"
    )


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def check_markers(page: Path) -> str:
    """Text of a page that has all markers.

    Raises:
        CardError: if one is not there.
    """
    text = page.read_text(encoding="utf-8")
    for name in (ZOO, NUMBERS):
        begin, end = _markers(name)
        if begin not in text or end not in text:
            raise CardError(f"{page} lacks the lines {begin.strip()!r} and {end!r}.")
    return text


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"


def _put(text: str, name: str, block: str) -> str:
    begin, end = _markers(name)
    head, rest = text.split(begin, 1)
    return f"{head}{begin}{block}{end}{rest.split(end, 1)[1]}"
