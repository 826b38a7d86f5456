"""The paper's claims, each a comparison of two kinds of runs, and the rule by which it held or did not."""

from collections.abc import Sequence
from dataclasses import dataclass


HELD, NOT_HELD, UNDECIDED, NOT_RUN = "held", "did not hold", "undecided", "not run"
PRIMARY = "in_domain"
"""The subset that decides."""


@dataclass(frozen=True)
class Claim:
    """Runs of kind `a` do better than those of kind `b`, or at most `-margin` worse.

    Attributes:
        name (`str`): short.
        says (`str`): the claim in a sentence.
        a, b (`str`): kinds of runs, see `training.experiment.plan.Run`; `probe-of-` a kind for probes.
        margin (`float`, *optional*, defaults to 0.0): the difference A - B must be above it.
        measure (`str`, *optional*, defaults to `"srcc"`): what is compared: `srcc` with the PMOD mean, or `distinct`,
            the share of distinct texts.
        apart (`bool`, *optional*, defaults to `False`): the intervals of both must not overlap either.
    """

    name: str
    says: str
    a: str
    b: str
    margin: float = 0.0
    measure: str = "srcc"
    apart: bool = False


CLAIMS = (
    Claim("pre-training", "Pre-training the encoders through a frozen decoder teaches them quality.", "vital", "base"),
    Claim(
        "features", "What it teaches is in the features: a linear probe finds it.", "probe-of-vital", "probe-of-base"
    ),
    Claim(
        "zero",
        "Another decoder reads the encoders without training (Zero beats its base).",
        "zero",
        "base",
        apart=True,
    ),
    Claim(
        "warm-up", "After 4,000 samples another decoder is within .02 of one trained on all.", "warm_up", "full", -0.02
    ),
    Claim(
        "transfer",
        "It does because of the encoders: before those of the base it gets less.",
        "warm_up",
        "warm_up_from_base",
    ),
    Claim("joint", "Encoders left as pre-trained are within .02 of ones that learn with it.", "full", "joint", -0.02),
    Claim("PMOD", "Distributions teach more than the level of the mean.", "vital", "without_pmod"),
    Claim("pairs", "Pairs help.", "vital", "without_pairs"),
    Claim("text", "Texts on distortions help scoring.", "vital", "without_text"),
    Claim("focal", "The focal loss keeps texts distinct.", "vital", "without_focal", measure="distinct"),
    Claim("frozen", "Freezing the decoder costs its own scores at most .02.", "vital", "decoder_not_frozen", -0.02),
    Claim("frozen, Zero", "A frozen decoder makes encoders that are better at Zero.", "zero", "zero_from_not_frozen"),
    Claim("frozen, Warm-up", "And better after a warm-up.", "warm_up", "warm_up_from_not_frozen"),
)


def verdict(differences: Sequence[dict[str, float]], margin: float = 0.0, apart: bool = False) -> str:
    """Returns the verdict of a claim.

    Args:
        differences (`Sequence[dict]`): of every pair of runs the 95 % interval of A - B, as `low` and `high`, and as
            `apart` whether that of A lies wholly above that of B.
        margin (`float`, *optional*, defaults to 0.0): what the difference must be above.
        apart (`bool`, *optional*, defaults to `False`): whether the intervals of both must not overlap either.

    Returns:
        `str`: `HELD` if all intervals lie above the margin, `NOT_HELD` if all lie below, `NOT_RUN` without any, else
        `UNDECIDED`.
    """
    if not differences:
        return NOT_RUN
    if all(one["low"] > margin and (one["apart"] or not apart) for one in differences):
        return HELD
    if all(one["high"] < margin for one in differences):
        return NOT_HELD
    return UNDECIDED


def opponents(claim: Claim, runs: dict[str, dict]) -> list[tuple[str, str]]:
    """The pairs of finished runs that a claim compares: of one decoder, and of one seed where both have several.

    Args:
        claim (`Claim`): which.
        runs (`dict[str, dict]`): name -> `kind`, `decoder`, `seed`, of runs that are finished.
    """
    pairs = []
    for a, left in runs.items():
        for b, right in runs.items():
            kinds = _is(claim.a, a, left) and _is(claim.b, b, right) and left["decoder"] == right["decoder"]
            if kinds and (right["kind"] == "base" or left["seed"] == right["seed"]):
                pairs.append((a, b))
    return pairs


def _is(kind: str, name: str, run: dict) -> bool:
    return name.startswith(kind) if kind.startswith("probe") else run["kind"] == kind
