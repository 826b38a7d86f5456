"""Audit of a tokenizer and a decoder for the words that VITAL is taught: levels, severities and distortions.

Scores are next-token probabilities of level words, and distortions are named in words, so a decoder whose tokenizer
cuts these words up, or which never learned some of their tokens, has blind spots before any training.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..levels_vital import LEVEL_WORDS
from ..vocabulary import IMAGE_DISTORTION_WORDS, SEVERITY_WORDS, VIDEO_DISTORTION_WORDS


VOCABULARY = {
    "level": ("The quality of the image is", LEVEL_WORDS),
    "severity": ("The distortion of the image is", SEVERITY_WORDS),
    "distortion of images": ("The distortion of the image is severe", tuple(IMAGE_DISTORTION_WORDS.values())),
    "distortion of videos": ("The distortion of the video is severe", tuple(VIDEO_DISTORTION_WORDS.values())),
}
"""Kind of words -> what stands before them, and the words as the training texts of `dataset_scripts` write them."""

OUTLIER_Z = 3.5
"""Robust z-score (by median and median absolute deviation) from which the norm of an embedding is an outlier."""

RARE = 1000
"""A word that is so many times less probable than the median of its kind is rare."""

LIMITS = (
    "Probabilities are the decoder's without a picture, after the prefix alone: they say what it tends to write, not "
    "what it would see.",
    "A word of several tokens has the product of their probabilities, so long words are less probable as such.",
    "An unusual embedding norm is a sign that a token was trained otherwise than most, not a proof.",
)


def audit_vocabulary(
    tokenizer: Any,
    model: Any = None,
    vocabulary: Mapping[str, tuple[str, Sequence[str]]] = VOCABULARY,
) -> dict[str, Any]:
    """Looks at every word of a vocabulary, as it stands after a space.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): of the decoder.
        model (`torch.nn.Module`, *optional*): a VITAL model or any causal language model, for embedding norms and
            probabilities; without it, only tokens are looked at.
        vocabulary (`Mapping[str, tuple[str, Sequence[str]]]`, *optional*): kind -> prefix and words.

    Returns:
        `dict`: `words`, each with `kind word tokens n_tokens unknown like`, where `like` lists the words of its kind
        that begin with the same token, and with a model `norm_z` (of its most unusual token) and `probability` given
        the prefix; `blind_spots`, sentences; `limits` of what this can say.
    """
    words = [_tokens(tokenizer, kind, word) for kind, (_, names) in vocabulary.items() for word in names]
    for entry in words:
        rivals = [w for w in words if w["kind"] == entry["kind"] and w["ids"][0] == entry["ids"][0]]
        entry["like"] = [w["word"] for w in rivals if w is not entry]
    if model is not None:
        z = norm_z_scores(model.get_input_embeddings().weight)
        for entry in words:
            entry["norm_z"] = max((float(z[i]) for i in entry["ids"]), key=abs)
        prefixes = {kind: prefix for kind, (prefix, _) in vocabulary.items()}
        texts = [(prefixes[entry["kind"]], entry["ids"]) for entry in words]
        for entry, value in zip(words, log_probabilities(tokenizer, model, texts), strict=True):
            entry["probability"] = math.exp(value)
    for entry in words:
        del entry["ids"]
    return {"words": words, "blind_spots": blind_spots(words), "limits": list(LIMITS)}


def norm_z_scores(embedding: torch.Tensor) -> torch.Tensor:
    """Robust z-scores of the norms of token embeddings.

    Args:
        embedding (`torch.Tensor` of shape `(vocab_size, hidden_size)`): of any dtype.

    Returns:
        `torch.FloatTensor` of shape `(vocab_size,)`: (norm - median) / (1.4826 MAD); zeros where the MAD is 0.
    """
    norms = embedding.detach().float().norm(dim=-1).cpu()
    deviation = norms - norms.median()
    spread = 1.4826 * deviation.abs().median()
    return deviation / spread if spread > 0 else torch.zeros_like(norms)


@torch.no_grad()
def log_probabilities(
    tokenizer: Any, model: Any, texts: Sequence[tuple[str, Sequence[int]]], batch_size: int = 8
) -> list[float]:
    """Log-probability of tokens after a prefix.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): of the model.
        model (`torch.nn.Module`): its forward takes `input_ids` and `attention_mask` and returns `logits`.
        texts (`Sequence[tuple[str, Sequence[int]]]`): prefix and the token ids that follow.
        batch_size (`int`, *optional*, defaults to 8): texts a forward pass.

    Returns:
        `list[float]`: natural logarithms, summed over the tokens.
    """
    device = model.device
    found = []
    for start in range(0, len(texts), batch_size):
        batch = [(tokenizer(prefix)["input_ids"], list(ids)) for prefix, ids in texts[start : start + batch_size]]
        length = max(len(prefix) + len(ids) for prefix, ids in batch)
        rows = torch.zeros(len(batch), length, dtype=torch.long)
        mask = torch.zeros_like(rows)
        for row, (prefix, ids) in enumerate(batch):  # padded on the right, which causal attention does not look at
            rows[row, : len(prefix) + len(ids)] = torch.tensor([*prefix, *ids])
            mask[row, : len(prefix) + len(ids)] = 1
        logits = model(input_ids=rows.to(device), attention_mask=mask.to(device)).logits
        for row, (prefix, ids) in enumerate(batch):
            steps = logits[row, len(prefix) - 1 : len(prefix) + len(ids) - 1].float().log_softmax(-1)
            found.append(float(steps.cpu().gather(1, torch.tensor(ids)[:, None]).sum()))
    return found


def blind_spots(words: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describes the problems of words in sentences; empty where there are none.

    Args:
        words (`Sequence[Mapping]`): as [`audit_vocabulary`] returns them.
    """
    spots = []
    for entry in words:
        name = f"{entry['kind']} {entry['word']!r}"
        if entry["unknown"]:
            spots.append(f"{name} has characters that the tokenizer does not know; it cannot be learned as it is.")
        if entry["kind"] == "level" and entry["n_tokens"] != 1:
            spots.append(
                f"{name} is {entry['n_tokens']} tokens ({' + '.join(entry['tokens'])}); a level word must be one: "
                "choose other level_words or another decoder."
            )
    for group in {(entry["kind"], *sorted([entry["word"], *entry["like"]])) for entry in words if entry["like"]}:
        spots.append(
            f"{group[0]}: {', '.join(group[1:])} begin with the same token; only later tokens tell them apart."
        )
    for kind in dict.fromkeys(entry["kind"] for entry in words):
        mine = [entry for entry in words if entry["kind"] == kind]
        unusual = [entry for entry in mine if abs(entry.get("norm_z", 0)) > OUTLIER_Z]
        if unusual:
            named = ", ".join(f"{entry['word']} (z = {entry['norm_z']:+.1f})" for entry in unusual)
            spots.append(
                f"{kind}: {named} {'has' if len(unusual) == 1 else 'have'} a token with an unusual embedding norm: "
                "it, or most of the vocabulary, was hardly trained."
            )
        mine = [entry for entry in mine if "probability" in entry]
        middle = sorted(entry["probability"] for entry in mine)[len(mine) // 2] if mine else 0
        rare = [entry["word"] for entry in mine if entry["probability"] * RARE < middle]
        if rare:
            spots.append(
                f"{kind}: {', '.join(rare)} {'is' if len(rare) == 1 else 'are'} over {RARE} times less probable than "
                "the median word of its kind; describing will rarely say it untrained."
            )
    return sorted(spots)


def _tokens(tokenizer: Any, kind: str, word: str) -> dict[str, Any]:
    ids = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    tokens = [tokenizer.decode([i]) for i in ids]
    unknown = tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids
    return {"kind": kind, "word": word, "tokens": tokens, "n_tokens": len(ids), "unknown": unknown, "ids": ids}
