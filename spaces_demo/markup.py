"""Records as HTML: what the page shows of them. Everything that a file or model says is escaped."""

import html
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modeling_vital.local_quality import scale_colors


APART = 0.1  # From here on a score and the mean of its map or curve look like a contradiction.
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 480, 190, 8, 26, 46
_TEXT = "#1b2631"


def headline(value: str, word: str, note: str, warning: str | None = None) -> str:
    """A result in large letters, read out when it changes; a warning below it."""
    value, word, note = map(html.escape, (value, word, note))
    warned = f'<span class="warning">{html.escape(warning)}</span>' if warning else ""
    return (
        f'<div class="headline" role="status"><span class="value">{value}</span>'
        f'<span class="word">{word}</span><span class="note">{note}</span>{warned}</div>'
    )


def refusal(message: str, title: str = "This cannot be scored") -> str:
    """Shows why there is no result, in the place of the result."""
    return f'<div class="refused" role="alert"><strong>{html.escape(title)}</strong> {html.escape(message)}</div>'


def score(record: dict[str, Any]) -> str:
    """The headline of a record of `Assessor.score`."""
    note = f"{record['modality']}, {record['model']}, {record['seconds']:.2f} s"
    return headline(
        f"{record['score']:.2f}", f"± {record['std']:.2f} · {level_words(record)}", note, record.get("warning")
    )


def level_words(record: dict[str, Any]) -> str:
    """The level of a score; where another one is the likeliest, both, each said for what it is."""
    likeliest = max(record["level_probs"], key=record["level_probs"].get)
    if likeliest == record["level"]:
        return likeliest
    return f"{record['level']} on average, most likely {likeliest}"


def level_bars(record: dict[str, Any], values: Sequence[float]) -> str:
    """The probability of each level as bars over the scale of the score, the score marked on it.

    Args:
        record (`dict`): of `Assessor.score`.
        values (`Sequence[float]`): of the levels, in the order of `level_probs`.
    """
    lowest, highest = min(values), max(values)
    gap = (highest - lowest) / (len(values) - 1)
    step = (_WIDTH - 2 * _LEFT) / len(values)

    def x(value: float) -> float:
        return _LEFT + step / 2 + (value - lowest) / gap * step

    floor, tall = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    told = ", ".join(f"{word} {share:.0%}" for word, share in record["level_probs"].items())
    parts = [
        f'<svg class="levels" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-size="13" font-family="sans-serif" fill="{_TEXT}" text-anchor="middle" '
        f'aria-label="Probability of each level: {html.escape(told)}. Their mean is the score, '
        f'{record["score"]:.2f}.">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    words = []  # over the line of the mean
    for (word, share), value in zip(record["level_probs"].items(), values, strict=True):
        color = scale_colors(np.array(value), lowest, highest).tobytes().hex()
        high = share * (tall - 14)
        parts.append(
            f'<rect x="{x(value) - 0.36 * step:.1f}" y="{floor - high:.1f}" width="{0.72 * step:.1f}" '
            f'height="{high:.1f}" fill="#{color}" stroke="{_TEXT}" stroke-width=".7"/>'
        )
        words.append(
            f'<text x="{x(value):.1f}" y="{floor - high - 5:.1f}" stroke="white" stroke-width="4" '
            f'paint-order="stroke">{share:.0%}</text>'
            f'<text x="{x(value):.1f}" y="{floor + 17}">{html.escape(word)} ({value:.1f})</text>'
        )
    at = x(record["score"])
    anchor = "start" if at < _WIDTH / 4 else "end" if at > 3 * _WIDTH / 4 else "middle"
    parts.append(
        f'<path d="M{_LEFT} {floor}H{_WIDTH - _LEFT}" stroke="{_TEXT}"/>'
        f'<path class="mean" d="M{at:.1f} {_TOP - 8}V{floor}" stroke="{_TEXT}" stroke-width="2" '
        'stroke-dasharray="5 4"/>'
        + "".join(words)
        + f'<text x="{at:.1f}" y="13" text-anchor="{anchor}" font-weight="bold">score {record["score"]:.2f}</text>'
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}">level (its value); height: probability</text></svg>'
    )
    return "".join(parts)


def where(record: dict[str, Any]) -> str:
    """The worst place or second in words, or that nothing stands out, read out; and why a mean may differ."""
    whole = record["whole_score"]
    if record["modality"] == "image":
        scores = np.array(record["scores"])
        if record["stands_out"]:
            text = f"Worst place: score {record['worst_score']:.2f}, framed in the map"
        else:
            text = f"Nothing stands out: all places score {scores.min():.2f} to {scores.max():.2f}"
        why = "a place is judged among its neighbours, the picture as one"
    else:
        scores = np.array([point["score"] for point in record["points"]])
        worst = min(record["points"], key=lambda point: point["score"])
        if record["stands_out"]:
            text = f"Worst second: {worst['start_s']:.1f} to {worst['end_s']:.1f} s, score {worst['score']:.2f}"
        else:
            text = f"Nothing stands out: all seconds score {scores.min():.2f} to {scores.max():.2f}"
        text += f"; frame shown: {record['worst_frame'] / record['fps']:.1f} s"
        why = "the clip's own score sees few frames, each in less detail"
    note = f"{record['model']}, {record['seconds']:.2f} s"
    said = f'<p role="status"><strong>{html.escape(text)}</strong> ({html.escape(note)})</p>'
    if abs(whole - scores.mean()) >= APART:
        said += f"<p>The whole scores {whole:.2f}, its parts {scores.mean():.2f} on average: {why}.</p>"
    return said


def comparison(record: dict[str, Any]) -> str:
    """The headline of a record of `Assessor.compare`."""
    scores = "; ".join(f"{side.upper()}: {record[side]['score']:.2f} ± {record[side]['std']:.2f}" for side in "ab")
    if record["winner"] == "tie":
        return headline("Tie", f"A is better with probability {record['probability']:.0%}", scores)
    sure = max(record["probability"], 1 - record["probability"])
    return headline(f"{record['winner'].upper()} wins", f"with probability {sure:.0%}", scores)


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table that wraps where it is narrow; numbers with two decimals, what is missing as a dash."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f'<td class="number">{value:.2f}</td>'
        return f"<td>{'–' if value is None else html.escape(str(value))}</td>"

    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return (
        f'<table class="results"><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def batch(records: Sequence[dict[str, Any]]) -> str:
    """The table of a batch: the worst first, then what could not be scored."""
    good = sorted((r for r in records if r["error"] is None), key=lambda r: r["score"])
    bad = [r for r in records if r["error"] is not None]
    rows = [[r["file"], r["score"], r["std"], r["level"]] for r in good]
    rows += [[r["file"], None, None, r["error"]] for r in bad]
    failed = f"; {len(bad)} could not be scored" if bad else ""
    return table(f"{len(good)} files, the worst first{failed}", ["file", "score", "±", "level, or problem"], rows)


def members(entries: Sequence[dict[str, Any]], scores: Sequence[dict[str, Any]] = ()) -> str:
    """The models of the demo: size, memory, how they were made, and what they say of an item where they were asked."""
    found = {record["model"]: record for record in scores}
    rows = []
    for entry in entries:
        record = found.get(entry["name"], {})
        size = f"{entry['parameters'] / 1e6:.1f} M, {entry['memory_bytes'] / 2**20:.0f} MiB"
        rows.append([entry["name"], record.get("score"), record.get("std"), record.get("level"), size, entry["made"]])
    columns = ["model", "score", "±", "level", "parameters, memory", "how made"]
    return table("Scores of different models are not on one scale", columns, rows)


def python_lines(model: str) -> str:
    """Lines of Python that score with a model."""
    return (
        "from modeling_vital import VitalForConditionalGeneration\n\n"
        f"model = VitalForConditionalGeneration.from_pretrained({model!r})\n"
        'result = model.score("photo.jpg")\n'
        "print(result.score, result.level)\n"
        'print(model.describe("photo.jpg"))'
    )


def probe_lines(model: str) -> str:
    """Lines of Python that score with a linear probe."""
    return (
        "from modeling_vital import VitalForQualityProbe\n\n"
        f"model = VitalForQualityProbe.from_pretrained({model!r})\n"
        'print(model.score("photo.jpg").score)'
    )


def shell_lines(model: str) -> str:
    """Lines of a shell that score with a model."""
    name = shlex.quote(model)
    return f"vital score holiday/ --model {name}\nvital report holiday/ --model {name} --output holiday.html"


def hub_lines(model: str) -> str:
    """Lines that publish a model, and load it from the Hub without the package."""
    return (
        f"# once:  vital push model {shlex.quote(model)} ORG/NAME\n"
        "from transformers import AutoModel\n\n"
        'model = AutoModel.from_pretrained("ORG/NAME", trust_remote_code=True)\n'
        'print(model.score("photo.jpg").score)'
    )


def links(urls: Mapping[str, str]) -> str:
    """Returns guides, source and cards as Markdown links: the package's addresses, or else its folders."""
    if urls:
        return " · ".join(f"[{label}]({address})" for label, address in urls.items())
    return (
        "More in the repository of `modeling-vital`: guides in `docs/`, the source in `modeling_vital/`, size, "
        "accuracy and licence of each model in `docs/models.md`, its card by `python -m model_cards render`."
    )
