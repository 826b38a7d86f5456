"""The rows of training data: everything that turns a version of an original into a row goes through here.

See `dataset_scripts.schema` for the columns. A group, a row that the trainer takes and no file holds, has those of
`pairwise` for any number of versions, with `preference` for all pairs of them and `texts` beside.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modeling_vital.conventions_vital import DEFAULT_ANSWER_PREFIXES, DEFAULT_DESCRIPTION_PREFIXES
from modeling_vital.levels_vital import level_of, preference_probability


TIE_PROBABILITY = 0.6
"""One of two is preferred where its probability of being better is at least this; else it is a tie.

`compare` calls less a tie, by `tie_margin`: a user asks for an answer, while the order of a close pair of machine
labels teaches nothing.
"""

NO_DISTORTION = {"type": None, "family": None, "severity": None}


@dataclass
class LabelledVersion:
    """One picture or clip with its label.

    Attributes:
        media (`dict`): `{"bytes", "path"}`, or `{"pixels"}` with a uint8 array `[H, W, 3]` or `[T, H, W, 3]`.
        modality (`str`): `"image"` or `"video"`.
        mos, std (`float`): of the opinions, in [0, 1] and [0, 0.5].
        level_probs (`list[float]`): PMOD, best level first.
        distortion (`dict`): type, family and severity of the one thing done to it.
        tag (`str`, *optional*): what was done in words.
    """

    media: dict[str, Any]
    modality: str
    mos: float
    std: float
    level_probs: list[float]
    distortion: dict[str, Any] = field(default_factory=lambda: dict(NO_DISTORTION))
    tag: str | None = None


def preference_of(prob: float, tie_probability: float = TIE_PROBABILITY) -> float:
    """1 if the first is better, 0 if the second is, 0.5 for a tie, from the probability that the first is better."""
    if prob >= tie_probability:
        return 1.0
    return 0.0 if prob <= 1.0 - tie_probability else 0.5


def score_text(modality: str, mos: float) -> str:
    """The answer of a scoring row: the training prefix and the word of the level."""
    return f"{DEFAULT_ANSWER_PREFIXES[modality]} {level_of(mos)}"


def distortion_text(modality: str, tag: str) -> str:
    """The answer of a distortion row. It begins as `describe` does by default: bare, a tag would be one of two ways to
    continue an empty human turn, and a model that mostly learned to score would say the level instead."""
    return f"{DEFAULT_DESCRIPTION_PREFIXES[modality]} {tag}."


def turns(modality: str, answers: Sequence[str]) -> list[dict[str, Any]]:
    """A user turn with nothing but the item and an assistant turn, for each answer.

    Prompt decoupling (arXiv 2511.17962): the user says nothing, the item alone evokes the answer.
    """
    messages = []
    for answer in answers:
        messages.append({"role": "user", "content": [{"type": modality, "text": None}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return messages


def media_columns(modality: str, media: Sequence[dict[str, Any]], answers: Sequence[str]) -> dict[str, Any]:
    """The columns about what is shown and said: modality, images, videos and messages."""
    is_image = modality == "image"
    return {
        "modality": modality,
        "images": list(media) if is_image else [],
        "videos": [] if is_image else list(media),
        "messages": turns(modality, answers),
    }


def group_row(
    row_id: str, versions: Sequence[LabelledVersion], tie_probability: float = TIE_PROBABILITY
) -> dict[str, Any]:
    """All versions of one original as one item: scores, all pairs, and texts of those with a tag.

    Returns:
        `dict`: as a pairwise row, but with one entry a version; `preference` has one a pair, in the order of
        `itertools.combinations`, and `texts` one a version, `None` without a tag.
    """
    modality = versions[0].modality
    pairs = itertools.combinations(versions, 2)
    return {
        "id": row_id,
        **media_columns(modality, [v.media for v in versions], [score_text(modality, v.mos) for v in versions]),
        "mos": [v.mos for v in versions],
        "std": [v.std for v in versions],
        "level_probs": [np.asarray(v.level_probs, dtype=float).tolist() for v in versions],
        "distortion": [v.distortion for v in versions],
        "preference": [
            preference_of(preference_probability(a.mos, a.std, b.mos, b.std), tie_probability) for a, b in pairs
        ],
        "texts": [None if v.tag is None else distortion_text(modality, v.tag) for v in versions],
    }
