"""Mutated files of every format give prepared media or a `MediaError`, and neither end nor hang the decoder."""

import pickle
import re

import pytest

from modeling_vital.cutting_vital import MediaCutter, PreparedMedia
from modeling_vital.media_vital import MediaError
from modeling_vital.reading import _Worker
from tests.fixtures import odd_media


CASES = 2000
TIMEOUT_S = 20.0


def seeds(folder) -> dict[str, bytes]:
    """Every sound file of the corpus that is small."""
    found = {}
    for case in odd_media.CASES:
        if case.error is None and len(case.name) < 40:
            case.make(path := folder / case.name)
            found[case.name] = path.read_bytes()
    return {name: data for name, data in found.items() if len(data) < 100_000}


def mutate(data: bytes, other: bytes, mutations: list) -> bytes:
    for kind, share, value, length in mutations:
        # Squared: half of all changes fall into the first quarter, where the headers are.
        place = int(len(data) * share * share)
        head, tail = data[:place], data[place:]
        if kind == "flip":
            data = head + bytes([value ^ byte for byte in tail[:1]]) + tail[1:]
        elif kind == "zero":
            data = head + bytes(len(tail[:length])) + tail[length:]
        elif kind == "cut":
            data = head
        elif kind == "repeat":
            data = head + tail[:length] * 2 + tail[length:]
        elif kind == "splice":
            data = head + other[int(len(other) * share) :]
        else:
            data = head + bytes([value]) * length + tail
    return data


@pytest.mark.slow
def test_mutated_files(tmp_path):
    hypothesis = pytest.importorskip("hypothesis")  # here, as its import takes two seconds
    st = hypothesis.strategies
    mutation = st.tuples(
        st.sampled_from(["flip", "zero", "cut", "repeat", "splice", "insert"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
        st.integers(1, 64),
    )
    files = seeds(tmp_path)
    assert len(files) > 45
    worker = _Worker(pickle.dumps(MediaCutter()), TIMEOUT_S)
    outcomes = {"media": 0, "error": 0}

    # Derandomized: the same cases everywhere.
    @hypothesis.settings(max_examples=CASES, deadline=None, derandomize=True, database=None)
    @hypothesis.given(
        st.sampled_from(sorted(files)), st.sampled_from(sorted(files)), st.lists(mutation, min_size=1, max_size=4)
    )
    def check(name, other, mutations):
        result = worker.load(mutate(files[name], files[other], mutations)).value
        if isinstance(result, MediaError):
            assert not re.search("ended its decoder|was given up", str(result)), (name, result)
            outcomes["error"] += 1
        else:
            assert isinstance(result, PreparedMedia)
            outcomes["media"] += 1

    try:
        check()
    finally:
        worker.close()
    assert sum(outcomes.values()) >= CASES and min(outcomes.values()) > CASES // 20
