"""What cameras, hands and uploads do to a photo: the damage real bad pictures have, drawn at random.

The 25 types of the registry are even, single and in fixed steps. Real pictures are rarely so: the light is poor, so
noise shows, so the phone smooths it away, and a network compresses the rest. [`draw`] makes such a history,
[`Degradation.apply`] carries it out in the order in which it happens, and [`spread`] confines it to a part of the
picture: a sharp subject before a soft background makes a good photo, the other way round it does not.

Every function takes and returns an RGB picture, `uint8 [H, W, 3]`, and leaves its input as it was. Strengths are in
(0, 1]: at 0 nothing would be seen, at 1 the picture is barely of use.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from dataset_scripts.distortions.blur import disk_kernel


_GAMMA = 2.2
_TO_LINEAR = (np.arange(256, dtype=np.float32) / 255) ** _GAMMA
_UNIT = 512
"""Blur and shake are in pixels of a picture this long: farther from a larger picture, the eye sees the same."""


def _linear(image: np.ndarray) -> np.ndarray:
    return _TO_LINEAR[image]


def _display(light: np.ndarray) -> np.ndarray:
    return (np.clip(light, 0, 1) ** (1 / _GAMMA) * 255 + 0.5).astype(np.uint8)


def _size(image: np.ndarray) -> float:
    """Pixels of this picture a pixel of a `_UNIT` long one; small cuts are taken for parts of larger pictures."""
    return max(1.0, max(image.shape[:2]) / _UNIT)


def out_of_focus(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A disk, radius 0.7 to 7 px on a picture of 512."""
    radius = 0.7 * 10**strength * _size(image)
    return cv2.filter2D(image, -1, disk_kernel(radius), borderType=cv2.BORDER_REFLECT_101)


def hand_shake(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The camera moves along a random smooth path, 2 to 25 px long on a picture of 512, while the shutter is open."""
    steps = 64
    turn = rng.normal(0, 0.15, steps).cumsum() + rng.uniform(0, 2 * math.pi)
    path = np.stack([np.cos(turn), np.sin(turn)]).cumsum(axis=1)
    path -= path.mean(axis=1, keepdims=True)
    path *= 2.0 * 12.5**strength * _size(image) / steps
    reach = max(1, math.ceil(np.abs(path).max()))
    kernel, *_ = np.histogram2d(*path, bins=2 * reach + 1, range=[[-reach - 0.5, reach + 0.5]] * 2)
    kernel = cv2.GaussianBlur(kernel.astype(np.float32), (3, 3), 0.5)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def under_exposure(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Up to 3.5 stops less light, read out in 8 bits."""
    return _display(_linear(image) * 2 ** (-3.5 * strength))


def over_exposure(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Up to 2.5 stops more light: what is bright burns out."""
    return _display(_linear(image) * 2 ** (2.5 * strength))


def _sense(light: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Shot and read noise of a sensor that counts `photons` at full light, after demosaicking (slightly blurred)."""
    variance = light / photons + (2.0 / photons) ** 2
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (3, 3), 0.6) * 1.6
    return light + np.sqrt(variance, dtype=np.float32) * noise


def sensor_noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A sensor that counts 3,000 down to 40 photons at full light: grain, most of it in the shadows."""
    return _display(_sense(_linear(image), 3000 * 75**-strength, rng))


def low_light(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Up to 4 stops too little light, amplified in part: dark, noisy, often warm."""
    stops = 4 * strength
    light = _sense(_linear(image) * 2**-stops, 2500.0, rng)
    warm = np.float32([1.0, 1 - 0.12 * strength, 1 - 0.3 * strength * rng.random()])
    return _display(light * 2 ** (stops * rng.uniform(0.3, 0.9)) * warm)


def smoothing(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Noise removed too well: sensor noise, then an edge-keeping filter that takes the texture with it."""
    noisy = sensor_noise(image, 0.3 + 0.5 * strength, rng)
    reach = 3 + 2 * round(2 * strength)
    return cv2.bilateralFilter(noisy, reach, 15 + 80 * strength, 2 + 4 * strength)


def upscaling(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Shrunk 1.3 to 6 times and enlarged again."""
    height, width = image.shape[:2]
    factor = 1.3 * 4.6**strength
    small = (max(4, round(width / factor)), max(4, round(height / factor)))
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_NEAREST)[
        rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])
    ]
    return cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=how)


def recompression(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Saved two or three times as JPEG or WebP, at a slightly other size in between, as uploads are."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    for turn in range(int(rng.integers(2, 4))):
        if turn:
            share = rng.uniform(0.7, 1.0)
            picture = picture.resize((max(16, round(width * share)), max(16, round(height * share))), Image.BICUBIC)
        quality = float(np.clip(80 * 0.1**strength * rng.uniform(0.8, 1.25), 3, 92))
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP" if rng.random() < 0.25 else "JPEG", quality=round(quality))
        picture = Image.open(buffer).convert("RGB")
    return np.asarray(picture.resize((width, height), Image.BICUBIC))


def haze(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A veil of grey light over up to three quarters of the contrast."""
    veil = np.float32(rng.uniform(0.45, 0.85) + rng.normal(0, 0.02, 3))
    share = np.float32(0.75 * strength)
    return _display(_linear(image) * (1 - share) + veil**_GAMMA * share)


def color_cast(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The white balance is off, by up to 0.6 stops a channel."""
    stops = rng.normal(0, 1, 3)
    stops -= stops.mean()
    return _display(_linear(image) * np.float32(2 ** (0.6 * strength * stops / np.abs(stops).max())))


def over_processing(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Sharpened with halos and oversaturated, as by an eager filter."""
    values = image.astype(np.float32)
    radius = rng.uniform(0.8, 2.5) * _size(image)
    values += (0.2 + 2.5 * strength) * (values - cv2.GaussianBlur(values, (0, 0), radius))
    grey = values.mean(axis=2, keepdims=True)
    return np.clip(grey + (values - grey) * (1 + strength), 0, 255).astype(np.uint8)


AUTHENTIC: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    function.__name__: function
    for function in (
        # in the order in which they happen to a picture
        out_of_focus, hand_shake, haze, over_exposure, under_exposure, low_light, sensor_noise, smoothing, color_cast,
        upscaling, over_processing, recompression,
    )
}  # fmt: skip
"""Name -> function, in the order in which [`Degradation.apply`] uses them."""

LOCAL = ("out_of_focus", "hand_shake", "smoothing", "upscaling", "recompression")
"""Those that may hit one part of a picture only, as depth of field, motion and coarse coding do."""

_EXCLUSIVE = ("over_exposure", "under_exposure", "low_light")
_LIKELY = dict(zip(AUTHENTIC, (3, 2, 1, 1, 1, 2, 2, 1.5, 0.7, 2.5, 1, 3), strict=True))


@dataclass(frozen=True)
class Degradation:
    """A history of damage: `steps` are (name, strength) in the order of [`AUTHENTIC`], empty for none."""

    steps: tuple[tuple[str, float], ...]

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Carries it out: uint8 `[H, W, 3]` to the same."""
        for name, strength in self.steps:
            image = AUTHENTIC[name](image, strength, rng)
        return image


def draw(rng: np.random.Generator, among: Sequence[str] = tuple(AUTHENTIC)) -> Degradation:
    """A history of one to three steps out of `among`, most often one or two, at most one of them about exposure."""
    names = [name for name in AUTHENTIC if name in among]
    likely = np.array([_LIKELY[name] for name in names])
    count = min(3, len(names), int(rng.geometric(0.55)))
    picked = sorted(rng.choice(len(names), size=count, replace=False, p=likely / likely.sum()))
    steps = [names[i] for i in picked]
    lights = [name for name in steps if name in _EXCLUSIVE]
    steps = [name for name in steps if name not in lights[1:]]
    # Several steps at full strength leave nothing to judge.
    return Degradation(tuple((name, float(rng.uniform(0.1, 1.0) / len(steps) ** 0.5)) for name in steps))


def subject_mask(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where the subject of a photo probably is: a soft ellipse around the detail nearest to the middle.

    Args:
        image (`np.ndarray`): uint8 `[H, W, 3]`, undistorted.
        rng (`np.random.Generator`): size and softness are drawn.

    Returns:
        `np.ndarray`: float32 `[H, W]` in [0, 1], 1 on the subject, between a tenth and half of the picture.
    """
    height, width = image.shape[:2]
    grey = cv2.cvtColor(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(
        np.float32
    )
    detail = cv2.GaussianBlur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (0, 0), 3)
    y, x = np.mgrid[0:32, 0:32] / 31 - 0.5
    detail *= np.exp(-(x**2 + y**2) / (2 * 0.22**2))
    row, col = np.unravel_index(detail.argmax(), detail.shape)
    area = rng.uniform(0.12, 0.45)
    stretch = rng.uniform(0.7, 1.4)
    radius = math.sqrt(area / math.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot((x / width - col / 31) / (radius * stretch), (y / height - row / 31) / (radius / stretch))
    soft = rng.uniform(0.08, 0.35)
    return np.clip((1 - distance) / soft + 0.5, 0, 1).astype(np.float32)


def spread(image: np.ndarray, damaged: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Damage where `mask` is 1, the picture as it was where it is 0, a soft change between: uint8 `[H, W, 3]`."""
    share = mask[..., None]
    return (image * (1 - share) + damaged * share + 0.5).astype(np.uint8)
