"""Worth of machine labels in human ones: the same frozen encoder, a linear head on each, compared with people.

One head learns the PMOD distribution (KL divergence, as in VITAL's training), one is a plain regression of the machine
mean, others are plain regressions of human opinions on ever more items. All are measured against human opinions of
contents that none of them saw, so the table says from how many human labels on they beat the machine's.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..batching_vital import in_parts
from ..item_log import ItemLog
from ..levels_vital import LEVEL_VALUES
from ..media_vital import MediaError
from .benchmarks import BenchmarkError
from .correlation import MIN_ITEMS, bootstrap_intervals, correlations, paired_difference
from .human_labels import Opinions
from .scorers import VitalScorer


SIZES = (25, 50, 100, 200, 400, 800, 1600)
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Weights of the squared coefficients, features in standard units; chosen on a fifth of the training contents."""


@torch.no_grad()
def extract_features(
    model: Any,
    ids: Sequence[str],
    media: Sequence[Callable[[], Any]],
    store: Path | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """Computes features of each item: mean and standard deviation of its image tokens, mean of its motion tokens.

    Args:
        model (`VitalForConditionalGeneration`): frozen.
        ids (`Sequence[str]`): names, no two alike, for error messages and for `store`.
        media (`Sequence[Callable]`): each gives what `processor.prepare` takes.
        store (`Path`, *optional*): an [`ItemLog`] of features found so far; work resumes from it.
        progress (`Callable[[int], object]`, *optional*): told how many items are done, as they are.

    Returns:
        `np.ndarray` of shape `[N, 3 * hidden_size]`, float64; the motion part is zero for pictures.

    Raises:
        BenchmarkError: for an item that cannot be read or is too large for the device.
        ItemLogError: if `store` is of another model or video backend, or cannot be used.
    """
    with ItemLog(store, VitalScorer("", model.config._name_or_path, model, 1).describe()) as log:
        for name in ids:
            log.add(name, stamp="")
        progress(log.done)
        for ordinal, name, _ in log.pending():
            try:
                (part,) = in_parts(model.encode_media, [model.processor.prepare(media[ordinal]())], model.device)
                if isinstance(part, MediaError):
                    raise part
            except MediaError as error:
                raise BenchmarkError(f"{name}: {error}") from error
            (encoded,) = part
            tokens, motion = encoded.image_hidden_states.flatten(0, 1).double(), encoded.motion_hidden_states.double()
            moving = motion.mean(0) if len(motion) else torch.zeros_like(tokens[0])
            features = torch.cat([tokens.mean(0), tokens.std(0, correction=0), moving]).cpu().numpy()
            log.save([(ordinal, {"features": b64encode(features.tobytes()).decode(), "error": None})])
            progress(1)
        return np.stack([np.frombuffer(b64decode(record["features"])) for record in log.records()])


def fit_regression(features: np.ndarray, targets: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    """Ridge regression, in closed form.

    Args:
        features (`np.ndarray` of shape `[N, F]`), targets (`np.ndarray` of shape `[N]`): to learn from.
        penalty (`float`): weight of the squared coefficients against the mean squared error.

    Returns:
        `Callable`: features `[M, F]` to predictions `[M]`.
    """
    x, scale = _standard(features)
    level = targets.mean()
    gram = x.T @ x / len(x) + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ (targets - level) / len(x))
    return lambda rows: scale(rows) @ weights + level


def fit_levels(features: np.ndarray, level_probs: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    """A linear head on the five levels that learns distributions by KL divergence.

    Args:
        features (`np.ndarray` of shape `[N, F]`): to learn from.
        level_probs (`np.ndarray` of shape `[N, 5]`): targets, best level first.
        penalty (`float`): weight of the squared coefficients.

    Returns:
        `Callable`: features `[M, F]` to scores `[M]`, the expectation over the level values.
    """
    standard, scale = _standard(features)
    x, target = torch.from_numpy(standard), torch.from_numpy(level_probs)
    weights = torch.zeros(x.shape[1], target.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(target.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:  # cross-entropy: the KL divergence but for a constant
        optimizer.zero_grad()
        value = -(target * (x @ weights + bias).log_softmax(-1)).sum(-1).mean() + penalty / 2 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    values = torch.tensor(LEVEL_VALUES, dtype=torch.float64)
    w, b = weights.detach(), bias.detach()
    return lambda rows: ((torch.from_numpy(scale(rows)) @ w + b).softmax(-1) @ values).numpy()


def audit_labels(
    train: Opinions,
    train_features: np.ndarray,
    level_probs: np.ndarray,
    test: Opinions,
    test_features: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Trains the heads and measures them against people.

    Args:
        train, test ([`Opinions`]): items with machine and human opinions; no content in both.
        train_features, test_features (`np.ndarray` of shape `[N, F]`): of [`extract_features`].
        level_probs (`np.ndarray` of shape `[N, 5]`): PMOD targets of the training items.
        resamples (`int`, *optional*, defaults to 1000): bootstrap samples of test contents.
        seed (`int`, *optional*, defaults to 0): of the samples, and of which items are labelled by people.

    Returns:
        `dict` with `heads`: name -> `labels` (how many), `penalty`, measures and `intervals`; `comparison` of PMOD
        with all human labels (SRCC); `worth`: the least number of human labels that reach PMOD's SRCC, `None` if none
        does; `blind_spots`.

    Raises:
        ValueError: if a content is in both, or one has fewer than 3 items or 2 contents.
    """
    shared = set(train.groups) & set(test.groups)
    if shared:
        raise ValueError(f"{len(shared)} contents are in training and test, such as {sorted(shared)[0]}")
    if min(len(train.ids), len(test.ids)) < MIN_ITEMS or min(len(set(train.groups)), len(set(test.groups))) < 2:
        raise ValueError("training and test need 3 items of 2 contents each, at least")
    machine = np.nanmean(train.matrix(), axis=1)
    order = np.random.default_rng(seed).permutation(len(train.ids))
    everyone = np.arange(len(order))
    plans = {
        "pmod": (fit_levels, level_probs, everyone),
        "machine mean": (fit_regression, machine, everyone),
    }
    for size in (*(size for size in SIZES if size < len(order)), len(order)):
        plans[f"human {size}"] = (fit_regression, train.human, order[:size])
    heads: dict[str, dict[str, Any]] = {}
    scores: dict[str, np.ndarray] = {}
    for name, (fit, labels, rows) in plans.items():
        groups = [train.groups[i] for i in rows]
        penalty = _best_penalty(fit, train_features[rows], labels[rows], groups)
        scores[name] = fit(train_features[rows], labels[rows], penalty)(test_features)
        heads[name] = {"labels": len(rows), "penalty": penalty, **correlations(scores[name], test.human, curves=())}
        heads[name]["intervals"] = bootstrap_intervals(
            scores[name], test.human, test.groups, ("srcc", "plcc"), resamples, seed=seed
        )
    best = f"human {len(order)}"
    reached = [h["labels"] for name, h in heads.items() if name[:5] == "human" and h["srcc"] >= heads["pmod"]["srcc"]]
    report = {
        "train": len(train.ids),
        "test": len(test.ids),
        "test_contents": len(set(test.groups)),
        "heads": heads,
        "comparison": {"a": "pmod", "b": best}
        | paired_difference(scores["pmod"], scores[best], test.human, test.groups, "srcc", resamples, seed=seed),
        "worth": min(reached, default=None),
    }
    return {**report, "blind_spots": _blind_spots(report, train)}


def _best_penalty(fit: Callable, features: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> float:
    """The penalty whose head errs least on its own labels of a fifth of the contents; the middle one if few."""
    names = sorted(set(groups))
    held = set(names[::5])
    rows = np.array([group in held for group in groups])
    if min(rows.sum(), (~rows).sum()) < MIN_ITEMS:
        return PENALTIES[len(PENALTIES) // 2]
    wanted = labels[rows] @ np.array(LEVEL_VALUES) if labels.ndim == 2 else labels[rows]
    errors = [np.mean((fit(features[~rows], labels[~rows], p)(features[rows]) - wanted) ** 2) for p in PENALTIES]
    return PENALTIES[int(np.argmin(errors))]


def _standard(features: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    centre, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 1e-12, spread, 1.0)

    def scale(rows: np.ndarray) -> np.ndarray:
        return (rows - centre) / spread

    return scale(features), scale


def _blind_spots(report: dict[str, Any], train: Opinions) -> list[str]:
    spots, pmod = [], report["heads"]["pmod"]
    difference = report["comparison"]
    labels = difference["b"].split()[1]
    if difference["high"] < 0:
        spots.append(f"PMOD labels lose {-difference['difference']:.3f} of SRCC against {labels} human labels.")
    if report["heads"]["machine mean"]["srcc"] >= pmod["srcc"]:
        spots.append("Plain regression of the machine mean is no worse than PMOD: the distribution adds nothing here.")
    if not pmod["intervals"]["srcc"][0] > 0:
        spots.append("The PMOD head does not surely follow people at all; the encoder may be too weak to tell.")
    if train.by == "cell":
        spots.append(
            "Human labels are means of a distortion at a severity over other pictures: they cannot reward seeing what "
            "differs between pictures of one kind."
        )
    spots.append("The encoder is frozen: this compares labels for a linear head, not for training an encoder.")
    return spots
