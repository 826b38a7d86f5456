"""The row contract: what one row of each configuration holds, and the checks that every row must pass.

Common to all configurations:

| column | what |
|---|---|
| `id` | unique within the configuration |
| `modality` | `image` or `video` |
| `images`, `videos` | the item, or the two items of a pair, in the list of its modality; the other list is empty |
| `messages` | one user turn with nothing but the item and one assistant turn, for each item |
| `source`, `license`, `provenance` | where the original comes from, under which licence, and what was done to it |
| `content_id` | groups everything made from one original; splits never cut a group |
| `split` | `train`, `validation` or `test` |

`scoring` adds opinions and their distribution, `pairwise` the same for both items and a preference, `distortion` the
distortion. Levels are best first, scores are in [0, 1], higher is better.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import datasets
from datasets import Features, List, Value

from dataset_scripts.build_config import SPLITS
from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS
from dataset_scripts.pmod import DEFAULT_MAX_RESIDUAL, LEVEL_SCALE
from modeling_vital.levels_vital import LEVEL_VALUES, level_of, preference_probability


CONFIGS = ("scoring", "pairwise", "distortion", "description")
SUM_TOLERANCE = 1e-6
MOS_TOLERANCE = DEFAULT_MAX_RESIDUAL / LEVEL_SCALE
"""How far the expectation of `level_probs` may lie from `mos`, where `mos` is within the end levels: what PMOD allows
before it falls back."""

_OPINIONS = ("annotators", "annotator_errors", "n_opinions", "mos", "std", "level_probs")


def row_features(config: str, annotators: Sequence[str]) -> Features:
    """The columns of one configuration.

    Args:
        config (`str`): one of `CONFIGS`.
        annotators (`Sequence[str]`): names, the fields of `annotators`.

    Returns:
        `datasets.Features`: clips are `{"bytes", "path"}`, so that loading needs no video decoder.

    Raises:
        ValueError: no configuration has this name.
    """
    if config not in CONFIGS:
        raise ValueError(f"unknown configuration {config!r}; there are {', '.join(CONFIGS)}")
    text, real = Value("string"), Value("float64")
    distortion = {"type": text, "family": text, "severity": Value("int32")}
    features: dict[str, Any] = {
        "id": text,
        "modality": text,
        "images": List(datasets.Image()),
        "videos": List(datasets.Video(decode=False)),
        "messages": List({"role": text, "content": List({"type": text, "text": text})}),
    }
    opinions = {
        "annotators": dict.fromkeys(annotators, real),
        "annotator_errors": List({"annotator": text, "error": text}),
        "n_opinions": Value("int32"),
        "mos": real,
        "std": real,
        "level_probs": List(real),
    }
    if config == "scoring":
        features |= opinions | {"distortion": distortion}
    elif config == "pairwise":
        features |= {name: List(kind) for name, kind in opinions.items()}
        features |= {"preference": real, "preference_prob": real, "distortion": List(distortion)}
    elif config == "distortion":
        features |= {"distortion": distortion}
    provenance = {"name": text, "sha256": text, "details": text, "steps": List(List(distortion))}
    return Features(
        features | {"source": text, "license": text, "content_id": text, "split": text} | {"provenance": provenance}
    )


def check_row(config: str, row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Looks for what is wrong with one row.

    Args:
        config (`str`): one of `CONFIGS`.
        row (`dict`): with the columns of [`row_features`].

    Yields:
        `tuple[str, str]`: kind of the problem, and what exactly.
    """
    for name in ("id", "content_id", "source", "license"):
        if not row[name]:
            yield f"no {name}", f"{name} is {row[name]!r}"
    if row["split"] not in SPLITS:
        yield "split", f"{row['split']!r} is none of {', '.join(SPLITS)}"
    yield from _check_media(config, row)
    yield from _check_messages(row)
    if config == "scoring":
        yield from _check_opinion({name: row[name] for name in _OPINIONS}, _answers(row)[:1])
        yield from _check_distortion(row["distortion"])
    elif config == "pairwise":
        yield from _check_pair(row)
    elif config == "distortion":
        yield from _check_distortion(row["distortion"])


def _count(config: str) -> int:
    return 2 if config == "pairwise" else 1


def _check_media(config: str, row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    counts = {"image": len(row["images"]), "video": len(row["videos"])}
    wanted = {"image": 0, "video": 0} | {row["modality"]: _count(config)}
    if counts != wanted:
        yield "media", f"{row['modality']!r} row with {counts['image']} images and {counts['video']} videos"


def _check_messages(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    items = len(row["images"]) + len(row["videos"])
    roles = [message["role"] for message in row["messages"]]
    if roles != ["user", "assistant"] * items:
        yield "messages", f"turns are {roles} for {items} items"
        return
    for turn, message in enumerate(row["messages"]):
        parts = [(part["type"], part["text"]) for part in message["content"]]
        if turn % 2 == 0 and parts != [(row["modality"], None)]:
            yield "messages", f"user turn {turn} holds {parts}, not the item alone"
        if turn % 2 == 1 and not (len(parts) == 1 and parts[0][0] == "text" and parts[0][1]):
            yield "messages", f"assistant turn {turn} holds {parts}, not one text"


def _answers(row: dict[str, Any]) -> list[str]:
    return [m["content"][0]["text"] or "" for m in row["messages"] if m["role"] == "assistant" and m["content"]]


def _check_opinion(opinion: dict[str, Any], answers: Sequence[str]) -> Iterator[tuple[str, str]]:
    scores = {name: score for name, score in opinion["annotators"].items() if score is not None}
    for name, score in scores.items():
        if not 0.0 <= score <= 1.0:
            yield "score out of range", f"{name} is {score}"
    if opinion["n_opinions"] != len(scores):
        yield "n_opinions", f"{opinion['n_opinions']} stated, {len(scores)} there"
    mos, std, probs = opinion["mos"], opinion["std"], opinion["level_probs"]
    if mos is None or std is None or not (0.0 <= mos <= 1.0 and 0.0 <= std <= 0.5):
        yield "mos out of range", f"mos {mos}, std {std}"
        return
    if len(probs) != len(LEVEL_VALUES) or not all(p is not None and 0.0 <= p <= 1.0 for p in probs):
        yield "level_probs", f"{probs} are not five probabilities"
        return
    if abs(math.fsum(probs) - 1.0) > SUM_TOLERANCE:
        yield "level_probs", f"{probs} sum to {math.fsum(probs)}"
    expectation = math.fsum(p * value for p, value in zip(probs, LEVEL_VALUES, strict=True))
    within = min(max(mos, LEVEL_VALUES[-1]), LEVEL_VALUES[0])
    if abs(expectation - within) > MOS_TOLERANCE + SUM_TOLERANCE:
        yield "expectation", f"of {probs}, best level first, is {expectation:.4f}, mos is {mos:.4f}"
    word = level_of(mos)
    for answer in answers:
        if answer.split()[-1:] != [word]:
            yield "answer", f"{answer!r} does not end in {word!r}, the level of {mos:.4f}"


def _check_distortion(distortion: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if distortion is None or distortion["type"] is None:
        return
    entry = DISTORTIONS.get(distortion["type"])
    if entry is None:
        yield "distortion", f"unknown type {distortion['type']!r}"
    elif entry.family != distortion["family"]:
        yield "distortion", f"{distortion['type']} is of family {entry.family}, not {distortion['family']!r}"
    if distortion["severity"] is None or not 1 <= distortion["severity"] <= len(SEVERITY_WORDS):
        yield "distortion", f"severity {distortion['severity']}"


def _check_pair(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if any(len(row[name]) != 2 for name in (*_OPINIONS, "distortion")):
        yield "pair", "a column of opinions does not have two entries"
        return
    answers = _answers(row)
    for place in range(2):
        yield from _check_opinion({name: row[name][place] for name in _OPINIONS}, answers[place : place + 1])
        yield from _check_distortion(row["distortion"][place])
    preference, prob = row["preference"], row["preference_prob"]
    if None in (*row["mos"], *row["std"], preference, prob):
        yield "preference", f"preference {preference}, probability {prob}"
        return
    expected = preference_probability(row["mos"][0], row["std"][0], row["mos"][1], row["std"][1])
    if abs(prob - expected) > SUM_TOLERANCE:
        yield "preference", f"preference_prob is {prob:.4f}, the opinions give {expected:.4f}"
    if not (preference == 0.5 or (preference == 1.0 and prob > 0.5) or (preference == 0.0 and prob < 0.5)):
        yield "preference", f"{preference} with a probability of {prob:.4f} that the first is better"
