"""Training callbacks: stop where gradients are no longer numbers, warn where answers are all the same."""

import logging
import math
from collections import Counter
from collections.abc import Sequence

import torch
from datasets import Dataset
from transformers import TrainerCallback

from training.checkpoints import stopped_for


_MIN_RATIO = 0.5  # below this share of the variety of the true texts, a warning

logger = logging.getLogger(__name__)


class GradientGuard(TrainerCallback):
    """Stops before a step that would put NaN into the weights, and so into the next checkpoint."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        """
        Raises:
            TrainingStopped: if a gradient is not finite.
        """
        if args.fp16:
            return  # the gradient scaler meets infinite gradients on purpose, and skips such steps
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        if not gradients:
            return  # DeepSpeed keeps them to itself
        parts = [g.to_local() if hasattr(g, "to_local") else g for g in gradients.values()]  # FSDP2: this rank's shard
        finite = torch.stack([part.isfinite().all() for part in parts])
        if not finite.all():
            first = next(name for name, ok in zip(gradients, finite.tolist(), strict=True) if not ok)
            raise stopped_for(f"the gradient of {first} is not finite", state.global_step, args.output_dir)


class CollapseMonitor(TrainerCallback):
    """Lets the model describe held-out items at each evaluation, and warns when it says the same of all of them.

    A model that answers "the quality is good" whatever it sees has a low loss on common words and is useless.

    Args:
        trainer (`VitalTrainer`): logs what is measured.
        rows (`Dataset`): held-out items with a text; these texts say how varied answers should be.
        max_new_tokens (`int`, *optional*, defaults to 32): longest text.
    """

    def __init__(self, trainer, rows: Dataset, max_new_tokens: int = 32):
        self.trainer = trainer
        self.rows = rows
        self.max_new_tokens = max_new_tokens
        self.truth = variety([_answer(row) for row in rows.select_columns(["messages"])])

    def on_evaluate(self, args, state, control, **kwargs):
        """Describes, measures, logs and warns."""
        trainer = self.trainer
        model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
        was_training = model.training
        model.eval()
        sources = [(row["images"] or row["videos"])[0] for row in self.rows]
        media = [source["bytes"] or source["path"] for source in sources]
        with torch.no_grad():
            texts = model.describe(media, batch_size=8, max_new_tokens=self.max_new_tokens)
        model.train(was_training)
        measured = variety(texts)
        for warning in collapsed(measured, self.truth, _MIN_RATIO):
            logger.warning("Step %d: %s For example: %r", state.global_step, warning, texts[0])
        trainer.log({f"eval_text_{name}": value for name, value in measured.items()})


def variety(texts: Sequence[str]) -> dict[str, float]:
    """Measures how much texts differ.

    Returns:
        `dict`: `distinct`, the share of different texts in (0, 1]; `length`, mean words a text; `entropy`, bits of the
        distribution of the words of all texts.
    """
    words = Counter(word for text in texts for word in text.split())
    total = sum(words.values())
    return {
        "distinct": len(set(texts)) / len(texts),
        "length": total / len(texts),
        "entropy": -sum(n / total * math.log2(n / total) for n in words.values()),
    }


def collapsed(measured: dict[str, float], truth: dict[str, float], min_ratio: float) -> list[str]:
    """Sentences on what is much less varied than the true texts; none if nothing is."""
    words = {
        "distinct": "share of different texts",
        "length": "mean number of words",
        "entropy": "entropy of the words",
    }
    return [
        f"The {words[name]} is {measured[name]:.2f}, in the data {truth[name]:.2f}: the answers may have collapsed."
        for name in words
        if measured[name] < min_ratio * truth[name]
    ]


def _answer(row: dict) -> str:
    return next(m["content"][0]["text"] for m in row["messages"] if m["role"] == "assistant")
