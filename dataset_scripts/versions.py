"""Versions of an original, made and labelled on the fly: training pictures without end.

An original is a region of a photo, or a page or screen drawn for the purpose. A group is a few versions of it: the
original, copies with distortions of the registry, copies with histories of real photos, evenly or in one part. Each
comes with the opinions of machine annotators, by the same rules as the published pairs: fidelity to the original for
one part, what the rendering shows for the other (see `dataset_scripts.annotators.picture`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dataset_scripts.annotators.human_scale import annotate_item
from dataset_scripts.annotators.kadid import PRISTINE_MOS, human_mos
from dataset_scripts.distortions import DISTORTIONS, IMAGE_DISTORTIONS, scenes, tag
from dataset_scripts.distortions.authentic import LOCAL, Degradation, draw, spread, subject_mask
from dataset_scripts.distortions.catalogue import ORIGINAL_TAG
from dataset_scripts.distortions.scene_rendering import distort, render
from dataset_scripts.pmod import PMOD, pmod
from dataset_scripts.sources import drawn


SUBJECT_SHARE = 0.8
"""How much the subject counts in the label of an unevenly damaged picture; the rest is the whole."""


@dataclass
class LabelRule:
    """Whose opinions make a label, and how they are weighed.

    Attributes:
        annotators (`list[str]`): annotators of pictures, at least three.
        clip_annotators (`list[str]`): annotators of clips, at least three that differ in kind.
        weights (`dict[str, float]`): how much one counts, against 1 for those not named.
        human_cells (`bool`): the mean human score of a distortion and severity in KADID-10k joins the opinions about
            photos with just that: it sets the scale between types, which machines get wrong.
    """

    annotators: list[str] = field(default_factory=lambda: ["gmsd", "mdsi", "haarpsi", "detail", "exposure"])
    clip_annotators: list[str] = field(
        default_factory=lambda: ["frame_gmsd", "frame_mdsi", "frame_haarpsi", "temporal_gradient", "frame_detail"]
    )
    weights: dict[str, float] = field(default_factory=lambda: {"detail": 2.0, "frame_detail": 2.0})
    human_cells: bool = False

    def label(self, opinions: dict[str, float]) -> PMOD:
        """The target that opinions in [0, 1] make, one row."""
        return pmod(np.array([list(opinions.values())]), weights=[self.weights.get(name, 1.0) for name in opinions])


@dataclass(frozen=True)
class Version:
    """One version of an original.

    Attributes:
        pixels (`np.ndarray`): uint8 `[H, W, 3]`.
        opinions (`dict[str, float]`): name -> calibrated score in [0, 1].
        steps (`tuple[tuple[str, float], ...]`): what was done, evenly: name, and severity 1..5 (registry) or strength
            in (0, 1] (histories). Empty for an original and for uneven damage.
        tag (`str`, *optional*): distortion in words, `"none"` for an original, `None` where no phrase can say it.
    """

    pixels: np.ndarray
    opinions: dict[str, float]
    steps: tuple[tuple[str, float], ...] = ()
    tag: str | None = None


@dataclass
class GroupPlan:
    """Kinds of groups and how often they are drawn.

    Attributes:
        versions (`int`): versions of an original.
        distortions (`list[str]`): image distortions of the registry; by default all.
        distortion_weights (`dict[str, float]`): how often one is drawn, against 1 for those not named.
        chain_share (`float`): share of distorted versions with a second distortion.
        authentic_share (`float`): share of groups with histories of real photos.
        uneven_share (`float`): share of these with damage in one part only, where larger than a tile.
        portrait_share (`float`): share of those again whose part is drawn as the subject of a portrait.
        scene_shares (`dict[str, float]`): share of originals that are black_and_white, night, cut_out, letterbox or
            drawn (pages, screens, line art); the rest are photos as they are.
    """

    versions: int = 4
    distortions: list[str] = field(default_factory=lambda: list(IMAGE_DISTORTIONS))
    distortion_weights: dict[str, float] = field(default_factory=dict)
    chain_share: float = 0.1
    authentic_share: float = 0.6
    uneven_share: float = 0.5
    portrait_share: float = 0.5
    scene_shares: dict[str, float] = field(
        default_factory=lambda: {
            "black_and_white": 0.1,
            "night": 0.06,
            "cut_out": 0.05,
            "letterbox": 0.03,
            "drawn": 0.1,
        }
    )

    def __post_init__(self) -> None:
        if unknown := {*self.distortions, *self.distortion_weights} - set(DISTORTIONS):
            raise ValueError(f"Unknown distortions {sorted(unknown)}; known are {', '.join(sorted(DISTORTIONS))}.")
        if unknown := set(self.scene_shares) - set(_SCENES):
            raise ValueError(f"Unknown scenes {sorted(unknown)}; known are {', '.join(_SCENES)}.")
        if sum(self.scene_shares.values()) > 1:
            raise ValueError(f"The shares of scenes add up to more than 1: {self.scene_shares}.")


_SCENES = ("black_and_white", "night", "cut_out", "letterbox", "drawn")
_OF_WHOLES = ("cut_out", "letterbox")  # of one tile, nothing might be left but background


def make_original(photo: np.ndarray, plan: GroupPlan, whole: bool, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """An original of a drawn kind, made of a region of a photo or of nothing.

    Args:
        photo (`np.ndarray`): uint8 `[H, W, 3]`.
        plan (`GroupPlan`): shares of the kinds.
        whole (`bool`): the region is larger than a tile.
        rng (`np.random.Generator`): source of chance.

    Returns:
        `tuple`: uint8 `[h, w, 3]`, and the kind, `"photo"` or one of `scene_shares`.
    """
    names = [name for name in plan.scene_shares if whole or name not in _OF_WHOLES]
    edges = np.cumsum([plan.scene_shares[name] for name in names])
    place = int(np.searchsorted(edges, rng.random(), side="right"))
    kind = names[place] if place < len(names) else "photo"
    height, width = photo.shape[:2]
    if kind == "drawn":
        return _drawn(height, width, rng), kind
    if kind == "cut_out":
        return scenes.cut_out(photo, scenes.portrait_mask(height, width, rng), rng), kind
    return (photo if kind == "photo" else getattr(scenes, kind)(photo, rng)), kind


def _drawn(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A page or screen of `height` x `width`; a small one is the busiest of some cuts, as empty paper says nothing."""
    if min(height, width) >= 256:
        return drawn.draw(width, height, rng)
    sheet = drawn.draw(max(384, 2 * width), max(384, 2 * height), rng)
    cuts = []
    for _ in range(4):
        top, left = (int(rng.integers(0, n - m + 1)) for n, m in zip(sheet.shape, (height, width), strict=False))
        cuts.append(np.ascontiguousarray(sheet[top : top + height, left : left + width]))
    return max(cuts, key=lambda cut: float(cut.std()))


def make_group(
    original: np.ndarray, kind: str, rule: LabelRule, plan: GroupPlan, whole: bool, rng: np.random.Generator
) -> list[Version]:
    """A group of versions of one original.

    Args:
        original (`np.ndarray`): uint8 `[H, W, 3]`.
        kind (`str`): as from [`make_original`].
        rule (`LabelRule`): whose opinions are asked.
        plan (`GroupPlan`): what is drawn.
        whole (`bool`): the original is larger than a tile, so that damage may be uneven.
        rng (`np.random.Generator`): source of chance.
    """
    if rng.random() >= plan.authentic_share:
        rule = rule if kind == "photo" else replace(rule, human_cells=False)
        return [even_version(original, steps, rule, rng) for steps in plan_even(plan, rng)]
    uneven = whole and kind not in ("drawn", "cut_out") and rng.random() < plan.uneven_share
    if uneven and rng.random() < plan.portrait_share:
        mask = scenes.portrait_mask(*original.shape[:2], rng)
        history = Degradation((("out_of_focus", float(rng.uniform(0.25, 1.0))),))
        shared = [history_version(original, history, where, rule, rng) for where in (1 - mask, mask)]
        rest = [original_version(original, rule)]
        while len(rest) + len(shared) < plan.versions:
            more = Degradation((*history.steps, *draw(rng, ("film_grain", "color_noise", "recompression")).steps))
            rest.append(history_version(original, more, 1 - mask if rng.random() < 0.5 else None, rule, rng))
        return [*rest, *shared][: plan.versions]
    versions = [original_version(original, rule)] if rng.random() < 0.7 else []
    ladder = draw(rng) if not uneven and rng.random() < 0.35 else None
    while len(versions) < plan.versions:
        if ladder:
            share = (len(versions) + rng.random()) / plan.versions
            history = Degradation(tuple((name, max(0.03, strength * share)) for name, strength in ladder.steps))
        else:
            history = draw(rng, LOCAL) if uneven else draw(rng)
        mask = subject_mask(original, rng) if uneven else None
        # Soft backgrounds are more common than soft subjects, in photos people keep.
        where = mask if mask is None or rng.random() < 0.4 else 1 - mask
        versions.append(history_version(original, history, where, rule, rng))
    return versions


def original_version(original: np.ndarray, rule: LabelRule) -> Version:
    """The original itself: at the top of fidelity, with its own place in all else."""
    opinions = annotate_item(original, original, rule.annotators)
    if rule.human_cells:
        opinions["human"] = PRISTINE_MOS
    return Version(original, opinions, (), ORIGINAL_TAG)


def even_version(
    original: np.ndarray, steps: Sequence[tuple[str, int]], rule: LabelRule, rng: np.random.Generator
) -> Version:
    """A version with distortions of the registry, (name, severity 1..5) in order, all over the picture."""
    if not steps:
        return original_version(original, rule)
    seed = int(rng.integers(2**63))
    picture, rendering = (do(original, steps, np.random.default_rng(seed)) for do in (distort, render))
    opinions = annotate_item(picture, original, rule.annotators, rendering=rendering)
    single = len(steps) == 1
    if rule.human_cells and single:
        opinions["human"] = human_mos(*steps[0])
    return Version(picture, opinions, tuple(steps), tag(*steps[0]) if single else None)


def history_version(
    original: np.ndarray,
    history: Degradation,
    where: np.ndarray | None,
    rule: LabelRule,
    rng: np.random.Generator,
) -> Version:
    """A version with a history of a real photo, all over it or in one part.

    Of uneven damage the label is that of the whole: `SUBJECT_SHARE` of it is what annotators say of the subject, the
    sharper part of `where` or what it leaves, because a sharp subject before a soft background makes a good photo.

    Args:
        original (`np.ndarray`): uint8 `[H, W, 3]`.
        history (`Degradation`): what happens.
        where (`np.ndarray`, *optional*): float32 `[H, W]` in [0, 1], 1 where it happens; by default everywhere. Below
            one half on average it is the subject, else all but the subject.
        rule (`LabelRule`): whose opinions are asked.
        rng (`np.random.Generator`): source of chance.
    """
    seed = int(rng.integers(2**63))
    picture, rendering = (do(original, np.random.default_rng(seed)) for do in (history.apply, history.render))
    if where is None:
        opinions = annotate_item(picture, original, rule.annotators, rendering=rendering)
        return Version(picture, opinions, history.steps)
    picture, rendering = (spread(original, damaged, where) for damaged in (picture, rendering))
    box = subject_box(where if where.mean() < 0.5 else 1 - where)
    cut = [np.ascontiguousarray(pixels[box]) for pixels in (picture, original, rendering)]
    subject = annotate_item(cut[0], cut[1], rule.annotators, rendering=cut[2])
    whole = annotate_item(picture, original, rule.annotators, rendering=rendering)
    return Version(picture, {n: SUBJECT_SHARE * subject[n] + (1 - SUBJECT_SHARE) * whole[n] for n in whole})


def subject_box(mask: np.ndarray, least: int = 96) -> tuple[slice, slice]:
    """Rows and columns of the inside of a subject, where the middle half of it lies along each axis.

    A box around all of it would be one third background, which is sharp where the subject is not. It is at least
    `least` long where the picture is.
    """
    inside = mask > 0.5
    return tuple(_stretch(_middle(inside.sum(1 - axis)), mask.shape[axis], least) for axis in (0, 1))


def _middle(counts: np.ndarray) -> np.ndarray:
    """Places of the first and the last of the middle half of what is counted; none if there is nothing."""
    return (
        np.searchsorted(counts.cumsum(), counts.sum() * np.array([0.25, 0.75])) if counts.any() else np.empty(0, int)
    )


def _stretch(places: np.ndarray, side: int, least: int) -> slice:
    if not len(places):
        return slice(0, side)
    first, last = int(places[0]), int(places[-1]) + 1
    missing = max(0, min(least, side) - (last - first))
    first = max(0, min(first - missing // 2, side - least))
    return slice(first, max(last, min(side, first + least)))


def plan_even(plan: GroupPlan, rng: np.random.Generator) -> list[list[tuple[str, int]]]:
    """Plans the steps of each version of a group: a list of (distortion, severity), empty for the original."""
    weights = np.array([plan.distortion_weights.get(name, 1.0) for name in plan.distortions])
    weights /= weights.sum()
    turn = rng.random()
    if turn < 0.35:  # a ladder: one distortion, rising severity
        name = str(rng.choice(plan.distortions, p=weights))
        severities = sorted(rng.choice(np.arange(1, 6), size=min(5, plan.versions - 1), replace=False))
        return [[], *([(name, int(severity))] for severity in severities)]
    steps: list[list[tuple[str, int]]] = [] if turn > 0.8 else [[]]
    while len(steps) < plan.versions:
        own = [(str(rng.choice(plan.distortions, p=weights)), int(rng.integers(1, 6)))]
        if rng.random() < plan.chain_share:
            own.append((str(rng.choice(plan.distortions, p=weights)), int(rng.integers(1, 6))))
        steps.append(own)
    return steps
