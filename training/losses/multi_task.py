"""The loss of a mixed batch: single scores, pairs and texts together, each item counting once.

An item is one row of the data: a picture or clip with a score, two of them with a preference, one with a text, or a
group of versions of one original with all of these. Its loss depends on nothing but itself, and the loss of a batch is
the mean over its items: so two processes with half the batch each, or twice as many accumulated steps, learn the same.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from .fidelity import fidelity_loss
from .focal_text import focal_token_loss
from .pmod_kl import pmod_kl_loss


LOSS_FORMS = {
    "paper": {
        "full_vocabulary": False,
        "per_token": True,
        "prefix_weight": 0.01,
        "fidelity_weight": 1.0,
        "pair_kl_weight": 0.5,
        "text_weight": 1.0,
        "focal_alpha": 1.0,
        "focal_beta": 2.0,
    },
    "released": {
        "full_vocabulary": True,
        "per_token": False,
        "prefix_weight": 0.05,
        "fidelity_weight": 1.0,
        "pair_kl_weight": 0.5,
        "text_weight": 1.0,
        "focal_alpha": 1.0,
        "focal_beta": 0.0,
    },
}
"""What each form sets where a recipe does not."""

PARTS = ("kl", "prefix", "fidelity", "text")
"""Names of the parts of the loss, as they are logged."""

FIDELITY_VALUES = (4.5, 3.5, 2.5, 1.5, 0.5)
"""Level values of the released pair loss. On this scale its epsilons are small beside any spread."""


@dataclass
class LossConfig:
    """Weights of the losses. Fields left out take the value of the form."""

    loss_form: str = field(
        default="paper",
        metadata={
            "help": "'paper': five-level KL over the number of answer tokens, focal text loss; 'released': KL with "
            "the softmax over the whole vocabulary, plain cross-entropy on text, as the authors' code."
        },
    )
    full_vocabulary: bool | None = field(
        default=None, metadata={"help": "Softmax of the level words over the whole vocabulary, not the five words."}
    )
    per_token: bool | None = field(
        default=None,
        metadata={"help": "Divide KL and prefix loss of an answer by its tokens, level included."},
    )
    prefix_weight: float | None = field(
        default=None, metadata={"help": "Weight (gamma) of the cross-entropy on the words around the level word."}
    )
    fidelity_weight: float | None = field(default=None, metadata={"help": "Weight of the fidelity loss of a pair."})
    pair_kl_weight: float | None = field(default=None, metadata={"help": "Weight of each KL of the two of a pair."})
    text_weight: float | None = field(default=None, metadata={"help": "Weight of the loss of texts."})
    hard_levels: bool = field(
        default=False,
        metadata={"help": "Learn the level of the mean opinion alone (cross-entropy), not the distribution."},
    )
    focal_alpha: float | None = field(default=None, metadata={"help": "Scale of the focal text loss."})
    focal_beta: float | None = field(
        default=None, metadata={"help": "Focus of the focal text loss; 0 is plain cross-entropy."}
    )

    def __post_init__(self):
        if self.loss_form not in LOSS_FORMS:
            raise ValueError(f"`loss_form` is one of {', '.join(LOSS_FORMS)}, got {self.loss_form!r}.")
        for name, value in LOSS_FORMS[self.loss_form].items():
            if getattr(self, name) is None:
                setattr(self, name, value)


def multi_task_loss(
    logits: torch.Tensor, targets: dict[str, torch.Tensor], level_ids: list[int], config: LossConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each item of a batch:

        single:  KL + gamma CE
        pair:    fidelity(A, B) + w (KL_A + KL_B) + gamma CE
        group:   mean of fidelity over its pairs + 2 w mean of KL + gamma CE + v focal loss
        text:    v focal loss

    A pair is a group of two without texts. CE is the mean over the labelled tokens of the item's answers but the level
    word, the focal loss that over the tokens of its texts. With `per_token` KL is divided by the number of tokens of
    its answer, and CE is a sum divided by the same: (KL - gamma sum log p) / T, as in arXiv 2511.17962.

    Args:
        logits (`torch.FloatTensor` of shape `(num_rows, length, vocab_size)`): `logits[r, i]` predicts `labels[r, i]`.
        targets (`dict`): what [`training.collators.VitalCollator`] makes, `labels` and `level_mask` cut and aligned:
            - `labels` (`torch.LongTensor` of shape `(num_rows, length)`): -100 where nothing is to be learned.
            - `level_mask` (`torch.BoolTensor` of shape `(num_rows, length)`): the level word; none in rows of text.
            - `level_probs` (`torch.FloatTensor` of shape `(num_rows, 5)`): target, best level first; unused for text.
            - `item` (`torch.LongTensor` of shape `(num_rows,)`): the item each row belongs to.
            - `pairs` (`torch.LongTensor` of shape `(num_pairs, 2)`): rows of A and B of each pair.
            - `preference` (`torch.FloatTensor` of shape `(num_pairs,)`): 1 where A is better, 0, or 0.5 for a tie.
            - `num_items` (`int`).
        level_ids (`list[int]`): token ids of the level words, best first.
        config (`LossConfig`): weights.

    Returns:
        `tuple`: the losses, `torch.FloatTensor` of shape `(num_items,)`, and `torch.FloatTensor` of shape `(4, 2)`,
        detached: of each of `PARTS` the sum, unweighted, and over how many items; of the KL over how many rows.
    """
    labels, level_mask, item = targets["labels"], targets["level_mask"], targets["item"]
    kept = labels != -100
    token_logits, token_ids = logits[kept].float(), labels[kept]  # [N, V], [N]
    scored = level_mask.any(-1)
    row = kept.nonzero()[:, 0]
    is_level, is_text = level_mask[kept], ~scored[row]
    is_prefix = ~is_level & ~is_text
    count = targets["num_items"]

    def by_item(index: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return token_logits.new_zeros(count).index_add(0, index, values)

    counted = ~is_text if config.per_token else is_prefix
    tokens = by_item(item[row], counted.float()).clamp_min(1)
    text_tokens = by_item(item[row], is_text.float()).clamp_min(1)
    prefix = F.cross_entropy(token_logits[is_prefix], token_ids[is_prefix], reduction="none")
    prefix = by_item(item[row[is_prefix]], prefix) / tokens
    text = focal_token_loss(token_logits[is_text], token_ids[is_text], config.focal_alpha, config.focal_beta)
    text = by_item(item[row[is_text]], text) / text_tokens

    level_logits = token_logits[is_level]  # one a scored row, in the order of the rows
    target = targets["level_probs"][scored]
    if config.hard_levels:  # KL to a distribution on one level is the cross-entropy
        target = (token_ids[is_level][:, None] == torch.tensor(level_ids, device=token_ids.device)).to(target.dtype)
    kl = pmod_kl_loss(level_logits, level_ids, target, config.full_vocabulary)
    if config.per_token:
        kl = kl / kept.sum(-1)[scored]
    num_scored = by_item(item, scored.float())
    kl = by_item(item[scored], kl)

    pairs = targets["pairs"]
    fidelity = pair_fidelity(level_logits, scored, pairs, targets["preference"], level_ids, config)
    pair_items = item[pairs[:, 0]]
    num_pairs = by_item(pair_items, torch.ones_like(fidelity))
    is_pair = num_pairs > 0
    fidelity = by_item(pair_items, fidelity) / num_pairs.clamp_min(1)

    kl_weight = torch.where(is_pair, 2 * config.pair_kl_weight / num_scored.clamp_min(1), 1.0)
    loss = kl_weight * kl + config.prefix_weight * prefix + config.fidelity_weight * fidelity
    loss = loss + config.text_weight * text
    is_scored, has_text = num_scored > 0, by_item(item[row], is_text.float()) > 0
    members = torch.stack([num_scored, is_scored, is_pair, has_text]).sum(-1)
    sums = torch.stack([kl, prefix, fidelity, text]).detach().sum(-1)
    return loss, torch.stack([sums, members.to(sums.dtype)], dim=-1)


def pair_fidelity(
    level_logits: torch.Tensor,
    scored: torch.Tensor,
    pairs: torch.Tensor,
    preference: torch.Tensor,
    level_ids: list[int],
    config: LossConfig,
) -> torch.Tensor:
    """Fidelity loss of the pairs of a batch.

    Args:
        level_logits (`torch.FloatTensor` of shape `(num_scored_rows, vocab_size)`): at the level words.
        scored (`torch.BoolTensor` of shape `(num_rows,)`): rows that have one.
        pairs, preference, level_ids, config: see [`multi_task_loss`].

    Returns:
        `torch.FloatTensor` of shape `(num_pairs,)`.
    """
    place = (scored.cumsum(0) - 1)[pairs]  # of each row of a pair among the scored rows
    if config.full_vocabulary:
        probs = level_logits.softmax(-1)[:, level_ids]
        return fidelity_loss(probs[place[:, 0]], probs[place[:, 1]], preference, values=FIDELITY_VALUES)
    probs = level_logits[:, level_ids].softmax(-1)
    return fidelity_loss(probs[place[:, 0]], probs[place[:, 1]], preference)


class MultiTaskLoss(torch.nn.Module):
    """[`multi_task_loss`] with its settings.

    Args:
        level_ids (`list[int]`): token ids of the level words, best first.
        config (`LossConfig`): weights.
    """

    def __init__(self, level_ids: list[int], config: LossConfig):
        super().__init__()
        self.level_ids = level_ids
        self.config = config

    def forward(self, logits: torch.Tensor, targets: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`multi_task_loss`]."""
        return multi_task_loss(logits, targets, self.level_ids, self.config)
