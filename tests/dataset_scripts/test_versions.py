"""Versions made on the fly: labelled by one rule, the same each time, and in the order that people agree on."""

import numpy as np
import pytest
from skimage import data

from dataset_scripts.annotators.kadid import PRISTINE_MOS, human_mos
from dataset_scripts.distortions import scenes
from dataset_scripts.distortions.authentic import Degradation, subject_mask
from dataset_scripts.versions import (
    GroupPlan,
    LabelRule,
    even_version,
    history_version,
    make_group,
    make_original,
    original_version,
    plan_even,
    subject_box,
)


PHOTO = data.astronaut()[:384, 60:444].copy()
RULE = LabelRule()


def mean(version, rule=RULE):
    return float(rule.label(version.opinions).mean[0])


def test_a_group_is_the_same_each_time_and_another_for_another_seed():
    def group(seed):
        rng = np.random.default_rng(seed)
        return make_group(*make_original(PHOTO, GroupPlan(), True, rng), RULE, GroupPlan(), True, rng)

    for seed in range(4):
        one, two = group(seed), group(seed)
        assert len(one) == 4
        for a, b in zip(one, two, strict=True):
            assert np.array_equal(a.pixels, b.pixels) and a.steps == b.steps
            assert a.opinions == pytest.approx(b.opinions)  # OpenCV: last bits depend on where an array lies
    assert not np.array_equal(group(0)[-1].pixels, group(1)[-1].pixels)


def test_originals_have_places_of_their_own():
    soft = scenes.soft_background(PHOTO, np.zeros(PHOTO.shape[:2], np.float32), 0.6, np.random.default_rng(0))
    dark = (PHOTO // 6).astype(np.uint8)
    sharp = original_version(PHOTO, RULE)
    for other in (soft, dark):
        version = original_version(other, RULE)
        assert version.opinions["gmsd"] == sharp.opinions["gmsd"]  # fidelity cannot tell them apart
        assert mean(version) < mean(sharp) - 0.05
    assert sharp.tag == "none" and sharp.steps == ()


def test_human_cells_are_heard_about_single_distortions_only():
    rule = LabelRule(human_cells=True)
    rng = np.random.default_rng(0)
    assert original_version(PHOTO, rule).opinions["human"] == PRISTINE_MOS
    assert even_version(PHOTO, [("jpeg", 5)], rule, rng).opinions["human"] == human_mos("jpeg", 5)
    assert "human" not in even_version(PHOTO, [("jpeg", 5), ("white_noise", 1)], rule, rng).opinions
    assert "human" not in even_version(PHOTO, [("jpeg", 5)], RULE, rng).opinions


def test_weights_reach_the_label():
    version = even_version(PHOTO, [("gaussian_blur", 4)], RULE, np.random.default_rng(0))
    values = version.opinions
    expected = (sum(values.values()) + values["detail"]) / 6
    assert mean(version) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_a_soft_background_is_better_than_a_soft_subject(seed):
    rng = np.random.default_rng(seed)
    mask = scenes.portrait_mask(*PHOTO.shape[:2], rng)
    blur = Degradation((("out_of_focus", 0.7),))
    background, subject = (history_version(PHOTO, blur, where, RULE, rng) for where in (1 - mask, mask))
    assert mean(background) > mean(subject) + 0.15


@pytest.mark.parametrize("scene", ["black_and_white", "night"])
def test_clean_is_better_than_grain_is_better_than_more(scene):
    original = getattr(scenes, scene)(PHOTO, np.random.default_rng(1))
    labels = [mean(original_version(original, RULE))]
    for strength in (0.3, 0.9):
        version = history_version(
            original, Degradation((("film_grain", strength),)), None, RULE, np.random.default_rng(0)
        )
        labels.append(mean(version))
    assert labels[0] > labels[1] > labels[2]


def test_a_clean_page_is_better_than_a_blurred_one():
    plan = GroupPlan(scene_shares={"drawn": 1.0})
    for seed in range(3):
        page, kind = make_original(PHOTO, plan, True, np.random.default_rng(seed))
        assert kind == "drawn" and page.shape == PHOTO.shape
        clean = mean(original_version(page, RULE))
        for strength in (0.3, 0.6):
            soft = Degradation((("soft_lens", strength),))
            assert mean(history_version(page, soft, None, RULE, np.random.default_rng(0))) < clean - 0.05


@pytest.mark.parametrize("kind", ["black_and_white", "night", "cut_out", "letterbox", "drawn"])
def test_kinds_of_originals(kind):
    plan = GroupPlan(scene_shares={kind: 1.0})
    original, found = make_original(PHOTO, plan, True, np.random.default_rng(0))
    assert found == kind and original.dtype == np.uint8 and original.shape[2] == 3
    tile, found = make_original(PHOTO[:128, :128], plan, False, np.random.default_rng(0))
    assert found == ("photo" if kind in ("cut_out", "letterbox") else kind) and tile.shape == (128, 128, 3)


def test_plans_are_ladders_or_mixed_and_heed_weights():
    plan = GroupPlan(distortions=["jpeg", "white_noise"], distortion_weights={"jpeg": 1e6}, chain_share=0.0)
    rng = np.random.default_rng(0)
    plans = [plan_even(plan, rng) for _ in range(100)]
    assert {name for steps in plans for version in steps for name, _ in version} == {"jpeg"}
    ladders = [p for p in plans if not p[0] and [s[0][1] for s in p[1:]] == sorted({s[0][1] for s in p[1:]})]
    assert len(ladders) > 30 and all(len(p) == 4 for p in plans)


@pytest.mark.parametrize("seed", range(4))
def test_the_box_of_a_subject_is_inside_of_it(seed):
    rng = np.random.default_rng(seed)
    for mask in (scenes.portrait_mask(300, 400, rng), subject_mask(PHOTO, rng)):
        assert mask[subject_box(mask, least=8)].mean() > 0.95


def test_the_box_of_a_subject_is_never_too_small():
    mask = np.zeros((300, 400), np.float32)
    mask[10:20, 200:260] = 1
    rows, cols = subject_box(mask)
    assert (rows, cols) == (slice(0, 96), slice(182, 278))
    assert subject_box(np.zeros((50, 60), np.float32)) == (slice(0, 50), slice(0, 60))


@pytest.mark.parametrize(
    "settings",
    [{"distortions": ["fog"]}, {"scene_shares": {"moon": 0.1}}, {"scene_shares": {"night": 0.7, "drawn": 0.6}}],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError):
        GroupPlan(**settings)
