"""The rule by which a claim holds, on hand-made results."""

import pytest

from training.experiment.claims import CLAIMS, HELD, NOT_HELD, NOT_RUN, UNDECIDED, Claim, opponents, verdict


def between(low, high, apart=True):
    return {"low": low, "high": high, "apart": apart}


@pytest.mark.parametrize(
    ("differences", "margin", "expected"),
    [
        ([], 0.0, NOT_RUN),
        ([between(0.01, 0.2)], 0.0, HELD),
        ([between(0.01, 0.2), between(0.05, 0.1)], 0.0, HELD),
        ([between(0.01, 0.2), between(-0.05, 0.1)], 0.0, UNDECIDED),
        ([between(0.01, 0.2), between(-0.2, -0.1)], 0.0, UNDECIDED),  # seeds that contradict each other
        ([between(-0.3, -0.1), between(-0.2, -0.01)], 0.0, NOT_HELD),
        ([between(-0.01, 0.3)], -0.02, HELD),  # within .02
        ([between(-0.03, 0.3)], -0.02, UNDECIDED),
        ([between(-0.3, -0.03)], -0.02, NOT_HELD),
        ([between(-0.3, -0.01)], -0.02, UNDECIDED),
        ([between(0.0, 0.3)], 0.0, UNDECIDED),  # the margin itself is not above it
    ],
)
def test_verdict(differences, margin, expected):
    assert verdict(differences, margin) == expected


def test_where_intervals_must_be_apart_a_paired_difference_is_not_enough():
    assert verdict([between(0.01, 0.2, apart=False)]) == HELD
    assert verdict([between(0.01, 0.2, apart=False)], apart=True) == UNDECIDED
    assert verdict([between(0.01, 0.2)], apart=True) == HELD
    assert verdict([between(-0.2, -0.1, apart=False)], apart=True) == NOT_HELD


def test_opponents_share_decoder_and_seed_and_a_base_serves_all_seeds():
    runs = {
        f"{kind}-{decoder}-s{seed}": {"kind": kind, "decoder": decoder, "seed": seed}
        for kind, decoder, seed in [
            ("base", "b", 0),
            ("base", "c", 0),
            ("zero", "b", 0),
            ("zero", "b", 1),
            ("zero", "c", 1),
            ("warm_up", "b", 0),
            ("full", "b", 0),
            ("full", "b", 1),
        ]
    }
    claim = Claim("x", "y", "zero", "base")
    assert opponents(claim, runs) == [
        ("zero-b-s0", "base-b-s0"),
        ("zero-b-s1", "base-b-s0"),
        ("zero-c-s1", "base-c-s0"),
    ]
    assert opponents(Claim("x", "y", "warm_up", "full"), runs) == [("warm_up-b-s0", "full-b-s0")]
    probes = {f"probe-of-{kind}": {"kind": "probe", "decoder": "", "seed": 0} for kind in ("vital-a-s0", "base-a")}
    assert opponents(Claim("x", "y", "probe-of-vital", "probe-of-base"), probes) == [
        ("probe-of-vital-a-s0", "probe-of-base-a")
    ]
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
