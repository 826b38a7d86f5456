"""From the sections' JSON files to the report: `report.json`, `report.md`, plots, and the table of docs/speed.md."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .sections import SECTIONS
from .targets import targets


BEGIN, END = "<!-- speed:begin -->\n", "<!-- speed:end -->"
NOTES = {
    "scoring": "Times are medians of rounds in which the ways take turns. `plain transformers` and `ours` see one "
    "copy of a tile, the released procedure and `ours, released conventions` two, as released checkpoints do. Memory "
    "is the peak of a process of its own above what it held before the work (interpreter, libraries, weights).",
    "peak_share": "The time of each operator says what keeps a part from its peak.",
    "growth": "Slopes are seconds, or MiB, for one more.",
    "means": "A ratio above 1: faster than without. Attention by heads and packed weights are what the package does; "
    "the others are not switched on.",
    "training_step": "Ours keeps the image encoder's channels last (`channels_last: true`, as in the recipes of our "
    "small models). `most_possible`: the step without savings over one that only sends the tiles through the image "
    "encoder, there and back, which no saving elsewhere makes faster.",
}


def load(folder: Path) -> dict[str, Any]:
    """The sections there are, by name: `{"machine", "quick", "result"}` each."""
    paths = [folder / f"{name}.json" for name in sorted(SECTIONS)]
    return {path.stem: json.loads(path.read_text("utf-8")) for path in paths if path.exists()}


def write(folder: Path) -> dict[str, Any]:
    """Writes `report.json`, `report.md` and the plots from the sections' files in a folder.

    Returns:
        `dict`: the content of `report.json`: `machines` by section, `quick`, `targets`.
    """
    sections = load(folder)
    results = {name: section["result"] for name, section in sections.items()}
    report = {
        "machines": {name: section["machine"] for name, section in sections.items()},
        "quick": any(section["quick"] for section in sections.values()),
        "targets": targets(results),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(_markdown(report, results), encoding="utf-8")
    _plots(folder, report["targets"], results)
    return report


def write_page(report: Mapping[str, Any], page: Path) -> None:
    """Puts machine and targets between the `speed` markers of a page.

    Raises:
        ValueError: if the markers are not there, or the report is of a quick run, whose numbers are arbitrary.
    """
    if report["quick"]:
        raise ValueError("The numbers of a quick run are not for a page: measure without --quick.")
    put_block(page, BEGIN, _summary(report), END)


def put_block(page: Path, begin: str, block: str, end: str) -> None:
    """Puts a text between two markers of a page, each on a line of its own.

    Raises:
        ValueError: if the markers are not there.
    """
    text = page.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise ValueError(f"{page} lacks the lines {begin.strip()!r} and {end!r}.")
    head, rest = text.split(begin, 1)
    page.write_text(f"{head}{begin}{block}{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def _summary(report: Mapping[str, Any]) -> str:
    machines = {json.dumps(machine, sort_keys=True): machine for machine in report["machines"].values()}
    lines = [
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, torch {m['torch']}, "
        f"{'bfloat16' if m['bf16'] else 'float32'}."
        for m in machines.values()
    ]
    rows = [
        (name, f"{t['ratio']:.3g}", f"{t['bound']} {t['target']:g}", "yes" if t["met"] else "no")
        for name, t in report["targets"].items()
    ]
    intro = (
        f"Measured on: {' '.join(lines)}\nWhere nothing else is said, a model of 1B sizes with random weights. "
        "Made by `make speed`,\nwhich writes `benchmarks/results/report.md`, with the profile of what is not met.\n\n"
    )
    return intro + markdown_table(("what", "measured", "target", "met"), rows)


def _markdown(report: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    parts = ["# Speed and memory\n", _summary(report)]
    if report["quick"]:
        parts.insert(1, "**A quick run at toy size: the numbers are arbitrary.**\n")
    if missed := [t["section"] for t in report["targets"].values() if not t["met"]]:
        parts.append(f"Targets missed are in: {', '.join(dict.fromkeys(missed))}.\n")
    if "peak_share" in results:
        parts.append(_profile(results["peak_share"]))
    if "scoring" in results:
        parts.append(_arithmetic(results["scoring"]))
    for name, result in results.items():
        rows = [(key, _number(value)) for key, value in flatten(result)]
        head = f"## {name.replace('_', ' ').capitalize()}\n\n{NOTES.get(name, '')}\n\n"
        parts.append(head + markdown_table(("", ""), rows))
    return "\n".join(parts)


def _profile(peak: Mapping[str, Any]) -> str:
    """The table that explains: each part's share of the forward's time, and its operators'."""
    total = sum(part["wall_s"] for part in peak["parts"].values())
    rows = []
    for name, part in peak["parts"].items():
        shares = sorted(part["operators"].items(), key=lambda item: -item[1])
        operators = ", ".join(f"{operator} {share:.0%}" for operator, share in shares if share >= 0.01)
        rows.append((name, f"{part['wall_s'] / total:.0%}", f"{part['share']:.0%}", operators))
    head = ("part", "of the time", "of the peak", "operators, by time")
    return f"## Where the time of one photo goes ({peak['dtype']})\n\n{markdown_table(head, rows)}"


def _arithmetic(scoring: Mapping[str, Any]) -> str:
    """The other table that explains: what the arithmetic alone says of each ratio."""
    rows = []
    for name, part in scoring.items():
        if isinstance(part, Mapping) and "gflop" in part:
            released, ours, same = (
                part["gflop"][way] for way in ("released procedure", "ours", "ours, released conventions")
            )
            rows.append((name, f"{released:.0f}", f"{ours:.0f}", f"{released / ours:.2f}", f"{released / same:.2f}"))
    head = ("scored", "released procedure, GFLOP", "ours, GFLOP", "ratio", "ratio for the very same scores")
    intro = "What is measured beyond these ratios is better use of the machine."
    return f"## What there is to compute\n\n{intro}\n\n{markdown_table(head, rows)}"


def flatten(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Nested results as rows `("a / b", value)`; single runs of a measurement and operators are left out."""
    if not isinstance(value, Mapping):
        return [] if isinstance(value, list) else [(name, value)]
    inner = ((key, part) for key, part in value.items() if key != "operators")
    return [row for key, part in inner for row in flatten(part, f"{name} / {key}" if name else str(key))]


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plots(folder: Path, met: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    from matplotlib.figure import Figure

    if met:
        figure = Figure(figsize=(9, 0.4 * len(met) + 1), layout="constrained")
        axes = figure.subplots()
        axes.barh(
            list(met), [_reached(t) for t in met.values()], color=["C2" if t["met"] else "C1" for t in met.values()]
        )
        axes.axvline(1, color="black")
        axes.invert_yaxis()
        axes.set_xlabel("measured over target, cut at 4; right of the line: met")
        figure.savefig(folder / "targets.png", dpi=100)
    if "growth" in results:
        figure = Figure(figsize=(10, 3), layout="constrained")
        series = {name: part["values"] for name, part in results["growth"].items()}
        for axes, (name, values) in zip(
            figure.subplots(1, len(series), squeeze=False)[0], series.items(), strict=True
        ):
            axes.plot([int(count) for count in values], list(values.values()), "o-")
            axes.set_title(name.replace("_", " "))
            axes.set_ylim(bottom=0)
        figure.savefig(folder / "growth.png", dpi=100)


def _reached(target: Mapping[str, Any]) -> float:
    """Measured over target, at most 4; for what should be small, the other way about."""
    measured, wanted = max(target["ratio"], 1e-9), target["target"]
    return min(measured / wanted if target["bound"] == "at least" else wanted / measured, 4.0)
