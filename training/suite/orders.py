"""Orders that people agree on, over originals that nothing was trained on: portraits, night, pages and the like.

A scene is one original in several versions, with the pairs that a person puts in order at once (a soft background is
better than a soft subject, a clean page better than a blurred one), and the pairs that should score alike (a photo
and its half size). No label is needed. Pages, screens and drawings have fonts, words and colours of their own:
[`dataset_scripts.sources.drawn.HELD_OUT`].
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset_scripts.distortions import distort_clip, scenes
from dataset_scripts.distortions.authentic import out_of_focus, sensor_noise, subject_mask
from dataset_scripts.sources.drawn import DRAWN, HELD_OUT
from modeling_vital.local_quality import quality_curve, quality_map
from training.suite.numbers import interval_of_shares
from training.tiny.originals import pan_and_zoom


ALIKE = 0.1
"""Scores this near to each other count as alike."""

PAGES = ("page", "table", "code")
"""Kinds of drawings that are pages; the others are screens, charts and line art."""

DRAWINGS = 10
"""Of each kind."""

_LONG_SIDE, _NATIVE_SIDE, _LEAST_NATIVE = 512, 1024, 600
_MAPS, _CLIPS, _CLIP_FRAMES, _FPS = 24, 12, 90, 30


@dataclass
class Scene:
    """An original in several versions.

    Attributes:
        content_id (`str`): its original.
        pictures (`list[np.ndarray]`): uint8 `[H, W, 3]`.
        orders (`list[tuple[str, int, int]]`): measure, place of the better picture, place of the worse. What stands
            before a slash in a measure's name is a measure too, of all its parts.
        alike (`list[tuple[str, int, int]]`): measure, and the places of two pictures that should score alike.
    """

    content_id: str
    pictures: list[np.ndarray] = field(default_factory=list)
    orders: list[tuple[str, int, int]] = field(default_factory=list)
    alike: list[tuple[str, int, int]] = field(default_factory=list)

    def add(self, picture: np.ndarray) -> int:
        """Takes a picture in and returns its place."""
        self.pictures.append(np.ascontiguousarray(picture))
        return len(self.pictures) - 1

    def in_order(self, measure: str, *places: int) -> None:
        """Each of the places is better than the next one."""
        self.orders += [(measure, better, worse) for better, worse in zip(places, places[1:], strict=False)]


def make_scenes(photos: Mapping[str, np.ndarray], small: bool = False) -> Iterator[Scene]:
    """All scenes of pictures, the same every time.

    Args:
        photos (`Mapping[str, np.ndarray]`): content id -> uint8 `[H, W, 3]`, held out from training.
        small (`bool`, *optional*, defaults to `False`): two photos and one drawing of each kind, for tests.
    """
    for content_id, photo in list(photos.items())[: 2 if small else None]:
        yield photo_scene(content_id, photo, chance("scene", content_id))
    for kind in DRAWN:
        for number in range(1 if small else DRAWINGS):
            yield drawn_scene(kind, f"{kind}/{number}", chance("drawn", kind, str(number)))


def chance(*names: str) -> np.random.Generator:
    """A generator for each original, so that a version does not depend on what else is measured."""
    return np.random.default_rng([1234, *"/".join(names).encode()])


def shrink(photo: np.ndarray, long_side: int) -> np.ndarray:
    """The photo at most so long, uint8 `[H, W, 3]`."""
    scale = min(1.0, long_side / max(photo.shape[:2]))
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)


def photo_scene(content_id: str, photo: np.ndarray, rng: np.random.Generator) -> Scene:
    """Portraits, black-and-white, night, cut-outs, bars and the half size of a photo, uint8 `[H, W, 3]`."""
    scene, small = Scene(content_id), shrink(photo, _LONG_SIDE)
    height, width = small.shape[:2]
    for mask in (scenes.portrait_mask(height, width, rng), subject_mask(small, rng)):
        strength = rng.uniform(0.4, 0.9)
        good, missed = (soft(small, mask, strength, rng) for soft in (scenes.soft_background, scenes.soft_subject))
        if _has_detail(small, mask):
            scene.in_order("portraits", scene.add(good), scene.add(missed))

    clean = scenes.black_and_white(small, rng)
    grain = [scenes.film_grain(clean, rng.uniform(*span), rng) for span in ((0.15, 0.35), (0.5, 1.0))]
    blurred = out_of_focus(clean, rng.uniform(0.5, 0.9), rng)
    places = [scene.add(picture) for picture in (clean, *grain, blurred)]
    scene.in_order("black_and_white/grain", places[0], places[1], places[2])
    scene.in_order("black_and_white/blur", places[0], places[3])
    scene.in_order("black_and_white/grain_above_blur", places[1], places[3])

    dark = scenes.night(small, rng)
    noisy = [scenes.night_noise(dark, rng.uniform(*span), rng) for span in ((0.2, 0.4), (0.6, 1.0))]
    scene.in_order("night", *(scene.add(picture) for picture in (dark, *noisy)))

    mask = scenes.portrait_mask(height, width, rng)
    seed = int(rng.integers(2**32))
    harmed = (small, out_of_focus(small, rng.uniform(0.4, 0.8), rng), sensor_noise(small, rng.uniform(0.5, 0.9), rng))
    cut = [scene.add(scenes.cut_out(picture, mask, np.random.default_rng(seed))) for picture in harmed]
    scene.in_order("cut_outs", cut[0], cut[1])
    scene.in_order("cut_outs", cut[0], cut[2])

    scene.alike.append(("letterbox", scene.add(small), scene.add(scenes.letterbox(small, rng))))
    if max(photo.shape[:2]) >= _LEAST_NATIVE:
        native = shrink(photo, _NATIVE_SIDE)
        scene.alike.append(("half_size", scene.add(native), scene.add(shrink(native, max(native.shape[:2]) // 2))))
    return scene


def _has_detail(photo: np.ndarray, mask: np.ndarray) -> bool:
    """Returns `True` if the subject has at least half the detail of the background: a clear sky has no focus."""
    detail = np.abs(cv2.Laplacian(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    return float((detail * mask).sum() / mask.sum()) >= 0.5 * float((detail * (1 - mask)).sum() / (1 - mask).sum())


def drawn_scene(kind: str, content_id: str, rng: np.random.Generator) -> Scene:
    """A page, screen or drawing; the same blurred a little and much; the same shrunk and enlarged."""
    width, height = (int(side) for side in rng.integers(440, 800, 2))
    clean = DRAWN[kind](width, height, rng, HELD_OUT)
    scene, family = Scene(content_id), "pages" if kind in PAGES else "screens"
    blurred = [cv2.GaussianBlur(clean, (0, 0), rng.uniform(*span)) for span in ((0.8, 1.3), (1.8, 3.2))]
    factor = rng.uniform(1.8, 3.2)
    tiny = cv2.resize(clean, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[rng.integers(3)]
    enlarged = cv2.resize(tiny, (width, height), interpolation=how)
    places = [scene.add(picture) for picture in (clean, *blurred, enlarged)]
    scene.in_order(f"{family}/blurred", places[0], places[1])
    scene.in_order(f"{family}/blurred", places[0], places[2])
    scene.in_order(f"{family}/enlarged", places[0], places[3])
    return scene


def measure_scenes(
    model: Any, photos: Mapping[str, np.ndarray], clips: Mapping[str, np.ndarray], small: bool = False
) -> dict[str, dict[str, Any]]:
    """Scores all scenes.

    Args:
        model (`VitalForConditionalGeneration` or `VitalForQualityProbe`): what is measured.
        photos, clips (`Mapping[str, np.ndarray]`): content id -> uint8 `[H, W, 3]` or `[T, H, W, 3]`, held out.
        small (`bool`, *optional*, defaults to `False`): a few of each, for tests.

    Returns:
        `dict` with `orders`: measure -> `share` of pairs in order (equal scores are not), `low` and `high` of its
        95 % interval over originals, and `n`; and `alike`: measure -> the same for pairs within [`ALIKE`], with the
        mean absolute `difference`. A model without a decoder has no maps and curves.
    """
    hits, apart = defaultdict(list), defaultdict(list)
    count = len(photos) + len(DRAWN) * DRAWINGS
    for scene in tqdm(make_scenes(photos, small), desc="scenes", total=None if small else count, unit="original"):
        scores = [result.score for result in model.score([Image.fromarray(picture) for picture in scene.pictures])]
        for measure, better, worse in scene.orders:
            for name in dict.fromkeys((measure.split("/")[0], measure)):
                hits[name].append((scene.content_id, float(scores[better] > scores[worse])))
        for measure, one, other in scene.alike:
            apart[measure].append((scene.content_id, abs(scores[one] - scores[other])))
    if hasattr(model, "describe"):
        apart["map"] = list(_map_differences(model, photos, 1 if small else _MAPS))
        apart["curve"] = list(_curve_differences(model, photos, clips, 1 if small else _CLIPS))
    alike = {
        measure: {
            **interval_of_shares([(content_id, float(value <= ALIKE)) for content_id, value in found]),
            "difference": float(np.mean([value for _, value in found])),
        }
        for measure, found in apart.items()
        if found
    }
    return {"orders": {name: interval_of_shares(found) for name, found in sorted(hits.items())}, "alike": alike}


def _map_differences(model: Any, photos: Mapping[str, np.ndarray], count: int) -> Iterator[tuple[str, float]]:
    """Measures how far a score is from the mean of its map: for a photo, and for it out of focus in one part."""
    for content_id, photo in tqdm(list(photos.items())[:count], desc="maps", unit="photo"):
        rng = chance("map", content_id)
        small = shrink(photo, _LONG_SIDE)
        mask = scenes.portrait_mask(*small.shape[:2], rng)
        for picture in (small, scenes.soft_subject(small, mask, 0.7, rng)):
            image = Image.fromarray(picture)
            yield content_id, abs(model.score(image).score - float(quality_map(model, image).values().mean()))


def _curve_differences(
    model: Any, photos: Mapping[str, np.ndarray], clips: Mapping[str, np.ndarray], count: int
) -> Iterator[tuple[str, float]]:
    """Measures how far a score is from the mean of its curve: for a clip, and for it with a bad second."""
    moves = {f"{content_id}/pan": photo for content_id, photo in photos.items() if max(photo.shape[:2]) >= 640}
    moves = dict(list(moves.items())[: max(0, count - len(clips))])
    for content_id, original in tqdm([*list(clips.items())[:count], *moves.items()], desc="curves", unit="clip"):
        rng = chance("curve", content_id)
        frames = pan_and_zoom(original, _CLIP_FRAMES, rng) if original.ndim == 3 else original[:_CLIP_FRAMES]
        bad = frames.copy()
        bad[:_FPS] = distort_clip(frames[:_FPS], "gaussian_blur", 4, rng, _FPS)
        for clip in (frames, bad):
            points = quality_curve(model, list(clip)).points
            yield content_id, abs(model.score(clip).score - float(np.mean([point.score for point in points])))
