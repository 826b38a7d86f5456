"""The five quality levels: words, values, token ids, and what follows from a distribution over them.

This is the one place that knows the levels. The words and the bin centres are those of VITAL (arXiv 2511.17962):
scores on [0, 1] are cut at steps of 0.2, and the decoder's next-token probabilities of the five words are a
distribution over the bins.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import torch  # not when it runs: those who make data need the levels and no torch, in every worker


LEVEL_WORDS = ("high", "good", "fair", "poor", "low")
"""Level words, best first."""

LEVEL_VALUES = (0.9, 0.7, 0.5, 0.3, 0.1)
"""Bin centres on the [0, 1] scale, in the order of `LEVEL_WORDS`: used in training and, by default, in scoring."""

RELEASED_LEVEL_VALUES = (1.0, 0.8, 0.6, 0.4, 0.2)
"""Values of the authors' scoring script; an affine change of `LEVEL_VALUES` (same ranking, other absolute numbers)."""


def level_token_ids(tokenizer, words=LEVEL_WORDS) -> list[int]:
    """Token id of each level word as it follows an answer prefix, that is with a leading space.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            Tokenizer of the decoder.
        words (`tuple[str]`, *optional*, defaults to `LEVEL_WORDS`):
            Level words, best first.

    Returns:
        `list[int]`: one id a word, in the order of `words`.

    Raises:
        ValueError: if a word is not a single token of its own, so that no next-token probability stands for it.
    """
    ids = []
    for word in words:
        pieces = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        if len(pieces) != 1 or pieces[0] == tokenizer.unk_token_id:
            raise ValueError(
                f"The level word {word!r} is {len(pieces)} tokens for this tokenizer ({type(tokenizer).__name__}); "
                "each level word must be one token. Choose another decoder or other `level_words`."
            )
        ids.append(pieces[0])
    if len(set(ids)) != len(ids):
        raise ValueError(f"The level words {words} share token ids {ids}; each needs a token of its own.")
    return ids


def level_probs_from_logprobs(logprobs: Mapping[str, float], words=LEVEL_WORDS) -> "torch.Tensor":
    """Distribution over the levels from the log-probabilities of next tokens that a serving engine reports.

    Engines report the likeliest tokens only. A level word that is not among them counts as impossible: its probability
    is below that of the least likely one reported, so what this leaves out is at most five times that.

    Args:
        logprobs (`Mapping[str, float]`):
            Log-probability of each reported token, by its text; level words with their leading space (`" high"`).
        words (`tuple[str]`, *optional*, defaults to `LEVEL_WORDS`):
            Level words, best first.

    Returns:
        `torch.DoubleTensor` of shape `(5,)`: probabilities, best level first, summing to 1.

    Raises:
        ValueError: if no level word was reported.
    """
    found = [logprobs.get(f" {word}", -math.inf) for word in words]
    if max(found) == -math.inf:
        raise ValueError(
            f"None of the level words {', '.join(words)} is among the {len(logprobs)} tokens reported "
            f"({', '.join(map(repr, list(logprobs)[:5]))}, ...). The prompt must end with the answer prefix, and the "
            "engine report enough tokens (`top_logprobs`)."
        )
    import torch

    return torch.tensor(found, dtype=torch.float64).softmax(-1)


def expected_score(level_probs: "torch.Tensor", values=LEVEL_VALUES) -> "torch.Tensor":
    """Expectation of the level values.

    Args:
        level_probs (`torch.Tensor` of shape `(..., 5)`): probabilities, best level first, summing to 1.
        values (`tuple[float]`, *optional*, defaults to `LEVEL_VALUES`): value of each level.

    Returns:
        `torch.Tensor` of shape `(...)`: score, higher is better, within the range of `values`.
    """
    return (level_probs * level_probs.new_tensor(values)).sum(-1)  # under autocast a product of matrices is rounded


def score_std(level_probs: "torch.Tensor", values=LEVEL_VALUES) -> "torch.Tensor":
    """Standard deviation of the level values under `level_probs`, on the scale of the score: the model's uncertainty.

    Args:
        level_probs (`torch.Tensor` of shape `(..., 5)`): probabilities, best level first, summing to 1.
        values (`tuple[float]`, *optional*, defaults to `LEVEL_VALUES`): value of each level.

    Returns:
        `torch.Tensor` of shape `(...)`: non-negative.
    """
    mean = expected_score(level_probs, values)
    variance = (level_probs * (level_probs.new_tensor(values) - mean.unsqueeze(-1)) ** 2).sum(-1)
    return variance.clamp_min(0).sqrt()


def level_of(score: float, words=LEVEL_WORDS, values=LEVEL_VALUES) -> str:
    """The level whose value lies nearest to a score (on [0, 1] with the default values: bins of width 0.2)."""
    return words[min(range(len(values)), key=lambda i: abs(values[i] - score))]


def preference_probability(score_a, std_a, score_b, std_b, eps: float = 1e-8):
    """Probability that A is better than B, both opinions taken as independent normals.

    P(A better) = Phi((score_a - score_b) / sqrt(std_a^2 + std_b^2)), the paper's pairwise form (Thurstone, case III).

    Args:
        score_a, std_a, score_b, std_b (`float` or `torch.Tensor`): means and standard deviations on one scale.
        eps (`float`, *optional*, defaults to 1e-8): added to the variance, so that two certain and equal opinions give
            0.5.

    Returns:
        Same type as the input, in [0, 1].
    """
    if hasattr(score_a, "erf"):  # a tensor
        z = (score_a - score_b) / (std_a**2 + std_b**2 + eps).sqrt()
        return 0.5 * (1 + (z / math.sqrt(2)).erf())
    z = (score_a - score_b) / math.sqrt(std_a**2 + std_b**2 + eps)
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))
