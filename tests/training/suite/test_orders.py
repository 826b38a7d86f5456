"""Scenes of the suite `tiny`: the better picture of a pair is better by known measures, and shares are right."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from skimage import data

from dataset_scripts.sources.drawn import DRAWN
from training.suite import orders
from training.suite.orders import PAGES, Scene, chance, drawn_scene, make_scenes, measure_scenes, photo_scene


PHOTOS = {"a": data.coffee(), "b": np.ascontiguousarray(data.astronaut()[:420])}


def sharpness(picture):
    return float(np.abs(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F)).mean())


class Judge:
    """Scores a picture by a function, as a model would."""

    def __init__(self, function):
        self.function = function

    def score(self, pictures):
        return [SimpleNamespace(score=self.function(np.asarray(picture))) for picture in pictures]


@pytest.fixture(scope="module")
def scenes():
    return list(make_scenes(PHOTOS, small=True))


def test_the_same_scenes_every_time(scenes):
    again = list(make_scenes(PHOTOS, small=True))
    assert [scene.orders for scene in scenes] == [scene.orders for scene in again]
    assert all(
        np.array_equal(one, other)
        for first, second in zip(scenes, again, strict=True)
        for one, other in zip(first.pictures, second.pictures, strict=True)
    )
    assert [scene.content_id for scene in scenes] == ["a", "b", *(f"{kind}/0" for kind in DRAWN)]
    alone = photo_scene("b", PHOTOS["b"], chance("scene", "b"))
    assert np.array_equal(alone.pictures[0], scenes[1].pictures[0])  # whatever else is measured


def test_blurred_is_less_sharp_and_noisy_rougher_than_clean(scenes):
    roughness = {"night": 1, "black_and_white/grain": 1, "black_and_white/blur": -1, "pages/blurred": -1}
    seen = set()
    for scene in scenes:
        for measure, better, worse in scene.orders:
            if sign := roughness.get(measure):
                seen.add(measure)
                assert sign * (sharpness(scene.pictures[worse]) - sharpness(scene.pictures[better])) > 0, measure
    assert seen == set(roughness)


def test_portraits_differ_in_where_they_are_sharp():
    scene = photo_scene("a", PHOTOS["a"], chance("scene", "a"))
    pairs = [(better, worse) for measure, better, worse in scene.orders if measure == "portraits"]
    assert pairs
    height, width = scene.pictures[0].shape[:2]
    middle = (slice(height * 2 // 5, height * 3 // 5), slice(width * 2 // 5, width * 3 // 5))
    for better, worse in pairs:
        assert sharpness(scene.pictures[better][middle]) > sharpness(scene.pictures[worse][middle])


def test_a_subject_without_detail_is_no_portrait():
    """Of its two subjects, one lies around detail wherever that is, the other in the middle."""
    flat = np.full((300, 400, 3), 120, np.uint8)
    flat[:, :60] = flat[:, -60:] = np.random.default_rng(0).integers(0, 255, (300, 60, 3))
    for photo, count in ((flat, 1), (PHOTOS["a"], 2)):
        scene = photo_scene("any", photo, np.random.default_rng(0))
        assert [measure for measure, *_ in scene.orders].count("portraits") == count


@pytest.mark.parametrize("kind", DRAWN)
def test_drawings_are_sorted_into_pages_and_screens(kind):
    scene = drawn_scene(kind, kind, np.random.default_rng(3))
    family = "pages" if kind in PAGES else "screens"
    assert [measure for measure, *_ in scene.orders] == [f"{family}/blurred"] * 2 + [f"{family}/enlarged"]
    assert len({picture.shape for picture in scene.pictures}) == 1 and len(scene.pictures) == 4


def test_shares_by_hand(monkeypatch):
    def made(photos, small):
        first, second = Scene("a"), Scene("b")
        for scene, greys in ((first, (200, 100, 150)), (second, (90, 100, 95))):
            places = [scene.add(np.full((8, 8, 3), grey, np.uint8)) for grey in greys]
            scene.in_order("pages/blurred", places[0], places[1])
            scene.in_order("pages/enlarged", places[1], places[2])
            scene.alike.append(("half_size", places[0], places[2]))
        return [first, second]

    monkeypatch.setattr(orders, "make_scenes", made)
    found = measure_scenes(Judge(lambda picture: float(picture.mean()) / 255), {}, {})
    assert found["orders"]["pages/blurred"]["share"] == 0.5 and found["orders"]["pages/blurred"]["n"] == 2
    assert found["orders"]["pages/enlarged"]["share"] == 0.5
    assert found["orders"]["pages"] == {"share": 0.5, "low": 0.5, "high": 0.5, "n": 4}  # one of two in each original
    half = found["alike"]["half_size"]
    assert half["share"] == 0.5 and half["difference"] == pytest.approx((50 + 5) / 2 / 255)
    assert set(found["alike"]) == {"half_size"}  # without a decoder, no maps and curves


def test_equal_scores_are_not_in_order():
    found = measure_scenes(Judge(lambda picture: 0.5), PHOTOS, {}, small=True)
    assert all(one["share"] == 0 for one in found["orders"].values())
    assert all(one["share"] == 1 and one["difference"] == 0 for one in found["alike"].values())
