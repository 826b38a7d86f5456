"""Order of the rows: tasks mixed at set ratios, batches of items of about one size.

The order is a function of the seed alone, so a run that resumes after a crash needs to know no more than how many
batches it has seen, and one process with a batch of 2 B sees what two processes with a batch of B see together.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Sampler


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskMixture:
    """Draws rows of several tables at set ratios.

    Every table is gone through in a random order, again and again, each time in another one. Within any chunk the
    ratios are met to one item.

    Args:
        sizes (`dict[str, int]`): rows of each table, in the order in which they stand in the index.
        ratios (`dict[str, float]`): how often each is drawn, against the others.
        seed (`int`): decides the order.

    Raises:
        ValueError: a ratio is negative, for a table that is not there or that has no row, or none is above 0.
    """

    sizes: dict[str, int]
    ratios: dict[str, float]
    seed: int

    def __post_init__(self):
        if unknown := set(self.ratios) - set(self.sizes):
            raise ValueError(f"Ratios for {sorted(unknown)}, but there are {', '.join(self.sizes)}.")
        if any(ratio < 0 for ratio in self.ratios.values()) or not any(self.ratios.values()):
            raise ValueError(f"Ratios must not be negative and one must be above 0, got {self.ratios}.")
        if empty := [name for name, ratio in self.ratios.items() if ratio and not self.sizes[name]]:
            raise ValueError(f"{', '.join(empty)} has no row to draw; leave it out of the mixture.")

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """Yields, without end, index positions `[size]`, int64."""
        names = list(self.sizes)
        ratios = np.array([self.ratios.get(name, 0.0) for name in names])
        edges = np.cumsum(ratios) / ratios.sum()
        starts = np.cumsum([0, *self.sizes.values()])
        orders = {name: self._order(number, self.sizes[name]) for number, name in enumerate(names)}
        chunk = 0
        while True:
            rng = np.random.default_rng((self.seed, chunk))
            # Evenly spaced points with a random start: every task gets its share, give or take one.
            task = np.searchsorted(edges, (np.arange(size) + rng.random()) / size, side="right").clip(
                max=len(names) - 1
            )
            rows = [starts[t] + next(orders[names[t]]) for t in task]
            yield rng.permutation(np.array(rows, dtype=np.int64))
            chunk += 1

    def _order(self, number: int, size: int) -> Iterator[int]:
        epoch = 0
        while True:
            # Not as a list: of a table of fresh rows it would take a hundred megabytes.
            yield from map(int, np.random.default_rng((self.seed, number, epoch, 1)).permutation(size))
            epoch += 1


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of a mixture for all processes and accumulation steps of a run.

    `bucket_batches` batches of all processes together are drawn at once, sorted by visual tokens and cut into batches,
    whose order is then random: the items of a batch have about one length, and little is padding.

    accelerate deals the batches out in turn, so consecutive ones belong to one optimiser step.

    Args:
        mixture (`TaskMixture`): what is drawn.
        visual_tokens (`np.ndarray` of shape `(num_rows,)`): of every row of the index.
        batch_size (`int`): items a process takes through the model at once.
        batches_per_step (`int`): processes times accumulation steps.
        num_steps (`int`): optimiser steps of the run.
        bucket_batches (`int`, *optional*, defaults to 16): 1: no bucketing.
        fingerprints (`dict[str, str]`, *optional*): of each table, what changes with its rows. They decide no order:
            a run that resumes compares them.
    """

    def __init__(
        self,
        mixture: TaskMixture,
        visual_tokens: np.ndarray,
        batch_size: int,
        batches_per_step: int,
        num_steps: int,
        bucket_batches: int = 16,
        fingerprints: Mapping[str, str] | None = None,
    ):
        self.mixture = mixture
        self.visual_tokens = np.asarray(visual_tokens)
        self.batch_size = batch_size
        self.batches_per_step = batches_per_step
        self.num_steps = num_steps
        self.bucket_batches = bucket_batches
        self.fingerprints = dict(fingerprints or {})
        self.drop_last = True  # read by accelerate: every process gets the same number of batches

    def __len__(self) -> int:
        return self.num_steps * self.batches_per_step

    def __iter__(self) -> Iterator[list[int]]:
        steps = 0
        items = self.batch_size * self.batches_per_step
        for number, chunk in enumerate(self.mixture.chunks(items * self.bucket_batches)):
            if self.bucket_batches > 1:
                chunk = chunk[np.argsort(self.visual_tokens[chunk], kind="stable")]
            for step in np.random.default_rng((self.mixture.seed, number, 2)).permutation(self.bucket_batches):
                if steps == self.num_steps:
                    return
                batch = chunk[step * items : (step + 1) * items]
                yield from batch.reshape(self.batches_per_step, self.batch_size).tolist()
                steps += 1

    def state_dict(self, steps: int) -> dict[str, Any]:
        """Returns what the rows of the run and their order follow from, and how far it got.

        Args:
            steps (`int`): optimiser steps done.
        """
        return {
            "seed": self.mixture.seed,
            "sizes": dict(self.mixture.sizes),
            "ratios": {name: float(ratio) for name, ratio in self.mixture.ratios.items()},
            "items_per_step": self.batch_size * self.batches_per_step,
            "bucket_batches": self.bucket_batches,
            "fingerprints": self.fingerprints,
            "steps": steps,
        }

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Makes sure that a run can be taken up again where `state` was kept.

        A state without fingerprints, of an earlier version, says nothing of the rows: they are not compared, with a
        warning.

        Raises:
            ValueError: the rows or their order would be others; it names what differs.
        """
        mine = self.state_dict(state["steps"])
        if "fingerprints" not in state:
            logger.warning("The checkpoint, of an earlier version, does not say which rows it had: keep to the same.")
            del mine["fingerprints"]
        if different := [name for name in mine if mine[name] != state.get(name)]:
            was = ", ".join(f"{name} {state.get(name)} there and {mine[name]} here" for name in different)
            raise ValueError(
                f"The run cannot resume from this checkpoint, it had other data or another order of it: {was}. Use "
                "the data and settings of the checkpoint, or start a new run with `model` set to its folder and "
                "another `output_dir`."
            )
