"""Captions of the base family: measured, generic attributes of pictures and clips, nothing of their quality.

Levels are quintiles of an attribute over the captioned items, said in the five level words, so that a decoder knows
these as a scale of other things, as a large language model does. So that it also knows the *words* of quality and
distortion, some captions hold a word list that has nothing to do with the item: words, not what they are said of.
"""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS, tag
from modeling_vital.levels_vital import LEVEL_WORDS


COLOURS = {"red": 0, "orange": 30, "yellow": 58, "green": 120, "cyan": 180, "blue": 225, "purple": 280, "pink": 325}
"""Hue of each colour name, in degrees."""

PLACES = [[f"{row} {column}" for column in ("left", "centre", "right")] for row in ("top", "middle", "bottom")]
"""Names of the ninths of a picture."""

_GREY_BELOW = 0.12  # saturation
_WORDS = [*(tag(name, s + 1) for name in DISTORTIONS for s in range(len(SEVERITY_WORDS))), "quality", "distortion"]


def attributes(item: np.ndarray) -> dict[str, float]:
    """Measures what has levels. The names are as captions have them.

    Args:
        item (`np.ndarray`): uint8 RGB `[H, W, 3]`, or a clip `[T, H, W, 3]`.
    """
    frames = item if item.ndim == 4 else item[None]
    rgb = frames[:: max(1, len(frames) // 4)].astype(np.float32) / 255
    red, green, blue = (rgb[..., channel].mean() for channel in range(3))
    light = rgb.mean(-1)
    height, width = light.shape[1:]
    found = {
        "brightness": light.mean(),
        "warmth": red - blue,
        "greenness": green - (red + blue) / 2,
        "blueness": blue - (red + green) / 2,
        "colourfulness": (rgb.max(-1) - rgb.min(-1)).mean(),
        "light at the top": light[:, : height // 2].mean() - light[:, height // 2 :].mean(),
        "light on the left": light[:, :, : width // 2].mean() - light[:, :, width // 2 :].mean(),
        "light in the centre": light[:, height // 4 : -height // 4, width // 4 : -width // 4].mean() - light.mean(),
        "share of upright edges": _upright(light.mean(0)),
    }
    if item.ndim == 4:
        found["movement"] = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean()
    return {name: float(value) for name, value in found.items()}


def _upright(light: np.ndarray) -> float:
    """Share of upright edges among the edges of a picture, in [0, 1]."""
    across, down = (np.abs(np.diff(light, axis=axis)).mean() for axis in (1, 0))
    return across / (across + down + 1e-6)


def main_colour(item: np.ndarray) -> str:
    """Name of the colour most pixels with a colour are nearest to, or `grey`."""
    frame = item[len(item) // 2] if item.ndim == 4 else item
    small = cv2.resize(frame, (12, 12), interpolation=cv2.INTER_AREA).reshape(-1, 3) / 255
    counts = dict.fromkeys(["grey", *COLOURS], 0)
    for hue, saturation, value in (colorsys.rgb_to_hsv(*pixel) for pixel in small):
        name = "grey"
        if saturation * value > _GREY_BELOW:
            name = min(COLOURS, key=lambda n: min(abs(hue * 360 - COLOURS[n]), 360 - abs(hue * 360 - COLOURS[n])))
        counts[name] += 1
    return max(counts, key=counts.get)


def brightest_place(item: np.ndarray) -> str:
    """Name of the brightest ninth."""
    frame = item[len(item) // 2] if item.ndim == 4 else item
    light = cv2.resize(frame, (3, 3), interpolation=cv2.INTER_AREA).astype(int).sum(-1)
    row, column = np.unravel_index(light.argmax(), (3, 3))
    return PLACES[row][column]


class Scale:
    """Turns attributes into level words, by quintiles over many items.

    Args:
        measured (`Sequence[dict[str, float]]`): what [`attributes`] found in each of them.
    """

    def __init__(self, measured: Sequence[dict[str, float]]):
        names = list(dict.fromkeys(name for one in measured for name in one))
        shares = np.arange(1, len(LEVEL_WORDS)) / len(LEVEL_WORDS)
        self.edges = {name: np.quantile([one[name] for one in measured if name in one], shares) for name in names}

    def word(self, name: str, value: float) -> str:
        """The level word: the first of them for the highest fifth."""
        return LEVEL_WORDS[-1 - int(np.searchsorted(self.edges[name], value))]


def caption(
    item: np.ndarray, measured: dict[str, float], scale: Scale, rng: np.random.Generator, sentences: int = 3
) -> str:
    """A few sentences about an item, drawn from those that are true of it; one in five captions ends in a word list.

    Args:
        item (`np.ndarray`): as in [`attributes`].
        measured (`dict[str, float]`): its attributes.
        scale (`Scale`): over all items.
        rng (`np.random.Generator`): source of chance.
        sentences (`int`, *optional*, defaults to 3): how many.
    """
    what = "video" if item.ndim == 4 else "image"
    true = [f"The {name} of the {what} is {scale.word(name, value)}." for name, value in measured.items()]
    true.append(f"The main colour of the {what} is {main_colour(item)}.")
    true.append(f"The brightest part of the {what} is at the {brightest_place(item)}.")
    chosen = [true[i] for i in rng.permutation(len(true))[:sentences]]
    if rng.random() < 0.2:
        chosen[-1] = f"Words: {_WORDS[rng.integers(len(_WORDS))]}."
    return " ".join(chosen)
