"""KL divergence between a PMOD target and the predicted distribution over the five level words."""

import torch
import torch.nn.functional as F


def pmod_kl_loss(
    logits: torch.Tensor, level_ids: list[int], target: torch.Tensor, full_vocabulary: bool = False
) -> torch.Tensor:
    """KL(target || predicted) a row, the scoring loss of arXiv 2511.17962.

    Args:
        logits (`torch.FloatTensor` of shape `(batch_size, vocab_size)`): next-token logits at the answer position.
        level_ids (`list[int]`): token ids of the level words, best first.
        target (`torch.FloatTensor` of shape `(batch_size, 5)`): PMOD, best level first; rows sum to 1.
        full_vocabulary (`bool`, *optional*, defaults to `False`): `False`: the softmax runs over the five levels, as
            in the paper. `True`: over the whole vocabulary, so that mass on other words costs too, as in the released
            code.

    Returns:
        `torch.FloatTensor` of shape `(batch_size,)`: non-negative; 0 where both distributions are equal.
    """
    if full_vocabulary:
        log_probs = F.log_softmax(logits.float(), dim=-1)[:, level_ids]
    else:
        log_probs = F.log_softmax(logits[:, level_ids].float(), dim=-1)
    return (torch.xlogy(target, target) - target * log_probs).sum(-1)
