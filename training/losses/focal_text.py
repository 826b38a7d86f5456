"""Focal loss on text: rare, hard words count more than the phrases every answer shares."""

import torch
import torch.nn.functional as F


def focal_token_loss(
    logits: torch.Tensor, labels: torch.Tensor, alpha: float = 1.0, beta: float = 2.0
) -> torch.Tensor:
    """-alpha (1 - p)^beta log p of each token, p the probability of the right one.

    Source: focal loss (arXiv 1708.02002) as arXiv 2511.17962 uses it for text; the paper's alpha is 1 and its beta 2.

    Args:
        logits (`torch.FloatTensor` of shape `(num_tokens, vocab_size)`): already aligned: `logits[i]` predicts
            `labels[i]`.
        labels (`torch.LongTensor` of shape `(num_tokens,)`): token ids.
        alpha (`float`, *optional*, defaults to 1.0): scale.
        beta (`float`, *optional*, defaults to 2.0): focus; 0 gives plain cross-entropy.

    Returns:
        `torch.FloatTensor` of shape `(num_tokens,)`: non-negative.
    """
    log_p = -F.cross_entropy(logits.float(), labels, reduction="none")
    return -alpha * (1 - log_p.exp()) ** beta * log_p
