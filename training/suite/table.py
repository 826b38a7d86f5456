"""Results of the suite for people."""

from typing import Any

from modeling_vital.evaluation.result_tables import aligned, number


def suite_table(results: dict[str, Any]) -> str:
    """Returns what the suite measured as text.

    Args:
        results (`dict`): what `training.suite.measurement.measure` returns, and the name of the `model`.
    """
    rows = [("subset", "metric", "n", "srcc", "95 %", "plcc", "srcc with severity")]
    for name, measured in {results["model"]: results["rows"], **results["peers"]}.items():
        for row in measured:
            span = f"{row['low']:.3f} to {row['high']:.3f}"
            numbers = (number(row["srcc"]), span, number(row["plcc"]), number(row["srcc_severity"]))
            rows.append((row["subset"], name, str(row["n"]), *numbers))
    across = [("across originals", "metric", "n", "srcc", "95 %")]
    for name, found in {results["model"]: results["across"], **results["peers_across"]}.items():
        for kind, one in (("damaged", found), ("as they are", found.get("originals"))):
            if one:
                span = f"{one['low']:.3f} to {one['high']:.3f}"
                across.append((kind, name, str(one["n"]), number(one["srcc"]), span))
    parts = [f"with {name} alone: {number(value)}" for name, value in results["across"].get("parts", {}).items()]
    sections = {
        "copies below their original:": _shares(results["pairs"]),
        "pairs in order:": _shares(results["orders"]),
        "pairs that score alike:": _shares(results["alike"]),
        "descriptions:": [f"{what}: {value:g}" for what, value in results["text"].items()],
    }
    lines = [*aligned(rows), "", *aligned(across), *parts]
    for title, found in sections.items():
        lines += ["", title, *found]
    return "\n".join(lines) + "\n"


def _shares(found: dict[str, dict[str, Any]]) -> list[str]:
    return [f"{name}: {one['share']:.1%} of {one['n']}" for name, one in found.items() if one["n"]]
