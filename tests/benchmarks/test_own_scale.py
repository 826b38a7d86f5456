"""The tables of docs/scores.md and docs/on-your-own-scale.md: made from what is measured, put between markers."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import own_scale, sensitivity
from tests.fixtures.doc_blocks import ROOT
from tests.fixtures.tiny_models import tiny_model


def test_changes_that_nobody_sees_change_little_and_the_others_more():
    picture = Image.linear_gradient("L").convert("RGB").resize((200, 150))
    pixels = {name: change(picture) for name, change in {**sensitivity.UNSEEN, **sensitivity.SEEN}.items()}
    assert np.array_equal(pixels["PNG"], picture)
    assert pixels["shifted by one pixel"].size == (199, 149)
    assert pixels["1 % cut off each side"].size == (196, 146)
    assert pixels["scaled to 50 %"].size == (100, 75)
    assert np.abs(np.asarray(pixels["JPEG, quality 95"], int) - np.asarray(picture, int)).mean() < 2
    assert not np.array_equal(pixels["noise, standard deviation 10 of 255"], picture)


def test_differences_are_changed_less_unchanged():
    model = tiny_model()
    picture = Image.radial_gradient("L").convert("RGB")
    found = sensitivity.measure(model, [picture, picture.resize((90, 60))])
    assert list(found) == [*sensitivity.UNSEEN, *sensitivity.SEEN]
    assert found["PNG"].tolist() == [0, 0]
    changed = sensitivity.SEEN["blurred, radius 1"](picture)
    assert found["blurred, radius 1"][0] == pytest.approx(model.score(changed).score - model.score(picture).score)


def test_the_advice_is_the_95th_percentile_of_what_nobody_sees():
    changes = {**sensitivity.UNSEEN, **sensitivity.SEEN}
    text = sensitivity.table("m", {name: np.full(4, 0.02 if name in sensitivity.UNSEEN else 0.5) for name in changes})
    assert "less than 0.020 in 95 of 100 cases" in text and "below 0.02 says nothing" in text
    assert "| blurred, radius 1 | +0.500 | 0.500 | 0.500 |" in text


def test_a_page_keeps_what_is_outside_its_markers():
    page = f"before\n{sensitivity.BEGIN}old\n{sensitivity.END}\nafter\n"
    once = sensitivity.put(page, "new\n")
    assert once.startswith("before\n") and once.endswith("after\n") and "old" not in once
    assert sensitivity.put(once, "new\n") == once
    for broken in ("", sensitivity.BEGIN, sensitivity.END, page + page):
        with pytest.raises(ValueError, match="sensitivity:begin"):
            sensitivity.put(broken, "new")


@pytest.mark.parametrize("page, module", [("docs/scores.md", sensitivity), ("docs/on-your-own-scale.md", own_scale)])
def test_the_pages_have_their_tables(page, module):
    text = (ROOT / page).read_text(encoding="utf-8")
    between = text.partition(module.BEGIN)[2].partition(module.END)[0]
    assert between.count("|---") and "vital-tiny" in between


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"\.jpg"):
        sensitivity.pictures_of(tmp_path)


def test_halves_are_fitted_apart_from_those_they_are_measured_on(monkeypatch):
    monkeypatch.setattr(own_scale, "DIVISIONS", 2)
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.3, 0.7, 240)
    mos = 1 + 10 * (scores - 0.3) ** 1.5 + rng.normal(0, 0.2, 240)  # bent, and far from the line end to end
    found = own_scale.measure(scores, mos, (-2, 6), (0.9, 0.7, 0.5, 0.3, 0.1))
    assert all(len(values) == 4 for values in found.values())
    assert found["curve"].mean() == pytest.approx(0.2, abs=0.03)
    assert (found["curve"] < found["ends"]).all() and (found["curve"] < found["mean"]).all()
    assert 0.9 < found["inside"].mean() < 1
    assert "4 halves" in own_scale.table("m", 240, found)
