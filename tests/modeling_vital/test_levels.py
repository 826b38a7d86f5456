import math

import pytest
import torch

from modeling_vital.levels_vital import (
    LEVEL_VALUES,
    LEVEL_WORDS,
    RELEASED_LEVEL_VALUES,
    expected_score,
    level_of,
    level_probs_from_logprobs,
    level_token_ids,
    preference_probability,
    score_std,
)
from training.losses import fidelity_loss
from training.losses.multi_task import FIDELITY_VALUES
from training.tiny.model import build_tokenizer


def test_expectation_and_std_by_hand():
    probs = torch.tensor([[0.5, 0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    assert expected_score(probs).tolist() == pytest.approx([0.8, 0.5])
    assert score_std(probs).tolist() == pytest.approx([0.1, 0.0])


def test_nothing_is_rounded_under_autocast():
    generator = torch.Generator().manual_seed(0)
    probs, others = torch.randn(2, 6, 5, generator=generator).softmax(-1)
    for values in (LEVEL_VALUES, FIDELITY_VALUES):
        with torch.autocast("cpu", torch.bfloat16):
            rounded = [expected_score(probs, values), score_std(probs, values)]
            rounded.append(fidelity_loss(probs, others, torch.ones(6), values))
        exact = [expected_score(probs, values), score_std(probs, values)]
        exact.append(fidelity_loss(probs, others, torch.ones(6), values))
        assert all(torch.equal(a, b) for a, b in zip(rounded, exact, strict=True))


def test_released_values_are_an_affine_change_of_ours():
    assert RELEASED_LEVEL_VALUES == pytest.approx([v + 0.1 for v in LEVEL_VALUES])


@pytest.mark.parametrize(
    ("score", "word"), [(0.95, "high"), (0.62, "good"), (0.41, "fair"), (0.39, "poor"), (0.0, "low")]
)
def test_level_of_a_score_is_its_bin(score, word):
    assert level_of(score) == word


def test_preference_by_hand():
    assert preference_probability(0.7, 0.3, 0.2, 0.4) == pytest.approx(0.8413447, abs=1e-6)  # one standard deviation
    assert preference_probability(0.4, 0.0, 0.4, 0.0) == 0.5
    tensor = preference_probability(*(torch.tensor(x) for x in (0.7, 0.3, 0.2, 0.4)))
    assert tensor.item() == pytest.approx(0.5 * (1 + math.erf(1 / math.sqrt(2))), abs=1e-6)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(800)


def test_level_words_are_single_distinct_tokens(tokenizer):
    ids = level_token_ids(tokenizer)
    assert [tokenizer.decode([i]) for i in ids] == [f" {word}" for word in LEVEL_WORDS]


def test_a_word_of_several_tokens_is_refused_by_name(tokenizer):
    with pytest.raises(ValueError, match="incomprehensible"):
        level_token_ids(tokenizer, ["high", "incomprehensible"])
    with pytest.raises(ValueError, match="share"):
        level_token_ids(tokenizer, ["high", "high"])


def test_level_probs_from_what_an_engine_reports():
    # Of the whole vocabulary's probability, half is on three of the words; "high" without its space is another token.
    reported = {" good": math.log(0.3), "high": math.log(0.25), " fair": math.log(0.15), " low": math.log(0.05)}
    probs = level_probs_from_logprobs(reported)
    assert probs.tolist() == pytest.approx([0, 0.6, 0.3, 0, 0.1])
    assert expected_score(probs).item() == pytest.approx(0.6 * 0.7 + 0.3 * 0.5 + 0.1 * 0.1)


def test_level_probs_of_other_words():
    reported = {" bon": -1.0, " mauvais": -1.0}
    assert level_probs_from_logprobs(reported, ("bon", "moyen", "mauvais")).tolist() == pytest.approx([0.5, 0, 0.5])


def test_no_level_word_reported_is_an_error():
    with pytest.raises(ValueError, match="high.* 2 tokens.*top_logprobs"):
        level_probs_from_logprobs({" the": -0.1, "high": -3.0})
