"""Statistics by hand numbers."""

import numpy as np
import pytest

from dataset_scripts.statistics import Tally, _spread, agreement, word_counts


def test_agreement_is_rank_correlation_over_what_both_judged():
    nan = np.nan
    scores = np.array(
        [[0.1, 0.9, nan, 0.5], [0.2, 0.5, nan, 0.5], [0.3, 0.4, nan, 0.5], [0.9, 0.1, nan, nan], [nan, 0.2, nan, 0.5]]
    )
    found = agreement(["a", "b", "silent", "flat"], scores)
    assert found["annotators"] == ["a", "b", "flat"]
    assert found["srcc"] == [[1.0, -1.0, None], [-1.0, 1.0, None], [None, None, 1.0]]
    assert found["count"] == [4, 5, 4] and found["mean"] == pytest.approx([0.375, 0.42, 0.5])


def test_ties_share_their_rank():
    scores = np.array([[0.1, 0.1], [0.2, 0.3], [0.2, 0.2], [0.4, 0.4]])
    # ranks 1 2.5 2.5 4 and 1 3 2 4: covariance 4.5, variances 4.5 and 5
    assert agreement(["a", "b"], scores)["srcc"][0][1] == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def row(content, text, **columns):
    answer = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    question = {"role": "user", "content": [{"type": "image", "text": None}]}
    about = {"modality": "image", "source": "s", "license": "l", "content_id": content}
    return about | {"messages": [question, answer]} | columns


def test_rows_are_counted_once_each():
    tally = Tally()
    for severity in (2, 2, 5):
        distortion = {"type": "jpeg", "family": "compression", "severity": severity}
        opinion = {"mos": 0.5, "std": 0.1, "annotators": {"a": 0.5, "b": None}, "distortion": distortion}
        tally.add("scoring", row("one", "The quality is fair", **opinion))
    tally.add("pairwise", row("two", "good", preference=1.0))
    tally.add("distortion", row("two", "relatively severe white noise"))
    assert tally.distortions == {"jpeg": [0, 2, 0, 0, 1]}
    assert set(tally.originals) == {"one", "two"} and tally.preferences == {1.0: 1}
    assert tally.words["scoring"] == {4: 3} and tally.words["distortion"] == {4: 1}
    np.testing.assert_array_equal(tally.opinions["image"][0], [0.5, np.nan])
    assert word_counts(row("x", "two words")["messages"]) == [2]


def test_spread_of_a_histogram():
    tally = Tally()
    for text in ("a", "a b", "a b c d"):
        tally.add("distortion", row("x", text))
    assert _spread(tally.words["distortion"]) == {"mean": 2.33, "least": 1, "most": 4}
