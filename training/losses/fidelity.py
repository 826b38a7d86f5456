"""Pairwise fidelity loss: the predicted preference between two items against the true one."""

import torch

from modeling_vital.levels_vital import LEVEL_VALUES, expected_score, preference_probability, score_std


def fidelity_loss(
    level_probs_a: torch.Tensor,
    level_probs_b: torch.Tensor,
    preference: torch.Tensor,
    values=LEVEL_VALUES,
) -> torch.Tensor:
    """1 - sqrt(P g) - sqrt((1 - P)(1 - g)) a pair, with P = Phi((m_A - m_B) / sqrt(s_A^2 + s_B^2)).

    The standard deviations are detached: a pair is learned by moving the means, not by becoming unsure (arXiv
    2511.17962).

    Args:
        level_probs_a, level_probs_b (`torch.FloatTensor` of shape `(num_pairs, 5)`): predicted, best level first.
        preference (`torch.FloatTensor` of shape `(num_pairs,)`): probability that A is the better: 1, 0, or 0.5 for a
            tie.
        values (`tuple[float]`, *optional*): value of each level.

    Returns:
        `torch.FloatTensor` of shape `(num_pairs,)`: in [0, 1], 0 where prediction and preference agree.
    """
    p = preference_probability(
        expected_score(level_probs_a, values),
        score_std(level_probs_a, values).detach(),
        expected_score(level_probs_b, values),
        score_std(level_probs_b, values).detach(),
    )
    eps = 1e-8  # keeps the square roots' gradients finite
    return 1 - torch.sqrt(p * preference + eps) - torch.sqrt((1 - p) * (1 - preference) + eps)
