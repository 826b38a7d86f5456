"""Results for people: a table, a plot with the fitted curve, and one Parquet row an item."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import require
from .benchmarks import LoadedBenchmark
from .logistic import fit_logistic
from .results import oriented
from .scorers import Scorer


_COLUMNS = ("srcc", "plcc", "plcc_logistic4", "plcc_logistic5", "krcc", "rmse", "rmse_logistic4")


def table(result: dict[str, Any], subsets: bool = True) -> str:
    """The result as text.

    Args:
        result (`dict`): what `make_result` returns.
        subsets (`bool`, *optional*, defaults to `True`): with a table of SRCC by subset, where there are any.

    Returns:
        `str`: lines that end with a newline; numbers that are not defined are `-`.
    """
    about = result["benchmark"]
    low, high = about["mos_range"]
    lines = [
        f"{about['title']} ({about['split']}): {about['items']} items of {about['groups']} contents, "
        f"mos {low:g} to {high:g}{'' if about['higher_is_better'] else ', mirrored: lower was better'}"
    ]
    if about["partial"]:
        lines.append(f"a partial copy, {len(about['missing'])} files missing: not the published set")
    lines += [f"note: {about['note']}"] if about["note"] else []
    models = result["models"]
    rows = [("model", "n", "srcc 95 %" if result["settings"]["confidence"] == 0.95 else "srcc interval", *_COLUMNS)]
    for model in models:
        measured = model["correlations"] or {}
        interval = (model["intervals"] or {}).get("srcc", (None, None))
        span = "-" if interval[0] is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
        rows.append((model["name"], str(model["n"]), span, *(number(measured.get(name)) for name in _COLUMNS)))
    lines += ["", *aligned(rows)]
    lines.append(
        "plcc_logistic and rmse_logistic are after a curve fitted on these same items; - where it has as many "
        "parameters as there are different scores"
    )
    for c in result["comparisons"]:
        lines.append(
            f"{c['a']} over {c['b']}: srcc {c['difference']:+.3f} ({c['low']:+.3f} to {c['high']:+.3f}), "
            f"p = {c['p_value']:.3g}, n = {c['n']}"
            if c["difference"] is not None and c["low"] is not None
            else f"{c['a']} over {c['b']}: not defined"
        )
    names = sorted({name for model in models for name in model["subsets"] or {}}) if subsets else []
    if names:
        lines += ["", *aligned([("srcc within", "n", *(m["name"] for m in models)), *_subset_rows(models, names)])]
    return "\n".join(lines) + "\n"


def accuracy_table(result: dict[str, Any]) -> str:
    """Accuracies of multiple-choice questions as text.

    Args:
        result (`dict`): `benchmark`, and `models` as `accuracy_report` returns them.
    """
    about, models = result["benchmark"], result["models"]
    rows = [("accuracy", "n", *(model["name"] for model in models))]
    rows.append(("all", str(about["questions"]), *(number(model["accuracy"]) for model in models)))
    rows.append(("always A, in the file's order", "", *(number(m["always_a_in_the_file"]) for m in models)))
    rows.append(("always A, as shown", "", *(number(m["always_a_as_shown"]) for m in models)))
    for kind, values in models[0]["by"].items():
        for value, found in values.items():
            shares = [model["by"].get(kind, {}).get(value, {}).get("accuracy") for model in models]
            rows.append((f"{kind}: {value}", str(found["n"]), *map(number, shares)))
    picks = [
        f"{model['name']}: picks {', '.join(f'{k} {v}' for k, v in model['letters'].items())}; {model['no_option']} "
        "answers name no option and count as wrong"
        for model in models
    ]
    note = [f"note: {about['note']}"] if about["note"] else []
    return "\n".join([f"{about['title']}: {about['questions']} questions", *note, "", *aligned(rows), *picks]) + "\n"


def summary(results: Sequence[dict[str, Any]]) -> str:
    """Results of several benchmarks side by side: SRCC / PLCC of each model, and their means, by domain.

    Args:
        results (`Sequence[dict]`): what `make_result` returns, one a benchmark.

    Returns:
        `str`: a table. A mean is `-` for a model that lacks one of its numbers, so that means stand for the same
        benchmarks.
    """
    models = list(dict.fromkeys(model["name"] for result in results for model in result["models"]))
    rows: list[tuple[str, ...]] = [("srcc / plcc", *models)]
    cells: dict[str, list[list[tuple]]] = {}
    for result in results:
        about = result["benchmark"]
        found = {model["name"]: model["correlations"] or {} for model in result["models"]}
        name = f"{about['title']} ({about['split']})" + (", partial" if about["partial"] else "")
        pairs = [tuple(found.get(model, {}).get(key) for key in ("srcc", "plcc")) for model in models]
        cells.setdefault(about["domain"], []).append(pairs)
        rows.append((name, *(" / ".join(map(number, pair)) for pair in pairs)))
    for domain, name in (("in", "mean, in domain"), ("out", "mean, out of domain")):
        columns = zip(*cells.get(domain, []), strict=True)
        means = [[_mean([pair[i] for pair in column]) for i in range(2)] for column in columns]
        if means:
            rows.append((f"{name} ({len(cells[domain])})", *(" / ".join(map(number, pair)) for pair in means)))
    return "\n".join(aligned(rows)) + "\n"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def write_items(loaded: LoadedBenchmark, scored: Sequence[tuple[Scorer, list[dict[str, Any]]]], path: Path) -> None:
    """One Parquet row an item: `id group split distortion mos mos_std`, and `score std error` of each model.

    `mos` is as published; the scores are as the models gave them.
    """
    pyarrow = require("pyarrow")
    columns: dict[str, list] = {name: [getattr(i, name) for i in loaded.items] for name in ("id", "group", "split")}
    columns |= {"distortion": [i.distortion for i in loaded.items], "mos": [i.mos for i in loaded.items]}
    columns["mos_std"] = pyarrow.array([i.std for i in loaded.items], pyarrow.float64())
    for scorer, records in scored:
        for name, kind in (("score", pyarrow.float64()), ("std", pyarrow.float64()), ("error", pyarrow.string())):
            columns[f"{scorer.name}.{name}"] = pyarrow.array([record[name] for record in records], kind)
    require("pyarrow.parquet").write_table(pyarrow.table(columns), path)


def plot(loaded: LoadedBenchmark, scorer: Scorer, records: list[dict[str, Any]], path: Path) -> None:
    """Scores against opinions with the fitted 4-parameter curve, as PNG; without it where it is not defined."""
    require("matplotlib").use("Agg")
    pyplot = require("matplotlib.pyplot")
    rows = [(r["score"], i.mos) for i, r in zip(loaded.items, records, strict=True) if r["error"] is None]
    scores = np.array([row[0] for row in rows])
    mos = np.array([loaded.benchmark.oriented(row[1]) for row in rows])
    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axes.scatter(scores, mos, s=8, alpha=0.4, linewidths=0)
    try:
        fit = fit_logistic(np.array(oriented(scorer, scores)), mos)
    except ValueError:  # too few, or all alike
        pass
    else:
        line = np.linspace(scores.min(), scores.max(), 200)
        axes.plot(line, fit(np.array(oriented(scorer, line))), color="black", label="fitted on these items")
        axes.legend()
    axes.set(xlabel=f"score of {scorer.name}", ylabel=f"mos ({loaded.benchmark.title}, {loaded.split})")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def file_name(text: str) -> str:
    """A name for a file that stands for any text."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.") or "model"


def _subset_rows(models: list[dict[str, Any]], names: Sequence[str]) -> list[tuple[str, ...]]:
    rows = []
    for name in names:
        found = [(model["subsets"] or {}).get(name, {"n": 0}) for model in models]
        rows.append((name, str(max(f["n"] for f in found)), *(number(f.get("srcc")) for f in found)))
    return rows


def number(value: float | None) -> str:
    """Three decimals; `-` for what is not defined."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]
