"""`quality_reward`: TRL's signature, a reward an item, and `None` where there is nothing to score."""

import functools
import inspect
import logging

import numpy as np
import pytest
from PIL import Image

from modeling_vital.rewards import quality_reward
from tests.fixtures.tiny_models import tiny_model


PICTURE = Image.radial_gradient("L").convert("RGB")
OTHER = Image.linear_gradient("L").convert("RGB").resize((90, 60))


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def reward(model):
    return functools.partial(quality_reward, model=model)


def said(*parts):
    return [{"role": "user", "content": "Make one."}, {"role": "assistant", "content": list(parts)}]


def test_rewards_are_the_scores_in_order(model, reward, tmp_path):
    PICTURE.save(tmp_path / "a.png")
    items = [str(tmp_path / "a.png"), OTHER, np.asarray(PICTURE), [OTHER] * 8]
    rewards = reward(completions=items)
    assert all(type(value) is float for value in rewards)
    assert rewards == pytest.approx([result.score for result in model.score(items)], abs=1e-6)
    assert rewards[0] != pytest.approx(rewards[1], abs=1e-4)


def test_an_item_without_a_score_gets_none_and_the_others_theirs(model, reward, caplog):
    items = [PICTURE, "Once upon a time.", OTHER, b"nothing", None]
    with caplog.at_level(logging.WARNING):
        rewards = reward(completions=items)
    assert [value is None for value in rewards] == [False, True, False, True, True]
    assert rewards[2] == pytest.approx(model.score(OTHER).score, abs=1e-6)
    assert "Completion 1 of 5 has no reward" in caplog.text


def test_of_a_conversation_the_last_picture_counts(model, reward):
    image = {"type": "image", "image": PICTURE}
    last = {"type": "image", "image": OTHER}
    rewards = reward(completions=[said(image, last, {"type": "text", "text": "Done."}), said({"type": "text"})])
    assert rewards[0] == pytest.approx(model.score(OTHER).score, abs=1e-6)
    assert rewards[1] is None
    assert reward(completions=[[{"role": "assistant", "content": "only words"}]]) == [None]


def test_it_takes_what_trl_passes(reward):
    logged = {}
    rewards = reward(
        prompts=["p", "q"],
        completions=[PICTURE, "words"],
        completion_ids=[[1], [2]],
        label=["x", "y"],
        trainer_state=object(),
        log_extra=lambda *args: None,
        log_metric=logged.__setitem__,
    )
    assert rewards[1] is None
    assert logged == {"quality_reward/none": 0.5}
    assert reward(completions=[]) == []


def test_trl_calls_reward_functions_by_these_names():
    trainer = pytest.importorskip("trl.trainer.grpo_trainer")
    source = inspect.getsource(trainer.GRPOTrainer._calculate_rewards)
    names = set(inspect.signature(quality_reward).parameters)
    assert "prompts=prompts, completions=completions" in source and {"prompts", "completions"} <= names
    assert "if reward is not None else torch.nan" in source


def test_a_name_of_the_zoo_is_loaded_once(monkeypatch, model):
    from modeling_vital import rewards

    calls = []
    monkeypatch.setattr(
        rewards.VitalForConditionalGeneration, "from_pretrained", lambda name: calls.append(name) or model
    )
    rewards._load.cache_clear()
    try:
        assert quality_reward([PICTURE]) == quality_reward([PICTURE])
    finally:
        rewards._load.cache_clear()
    assert calls == ["vital-tiny"]
