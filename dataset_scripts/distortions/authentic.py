"""Damage by cameras, hands and uploads, as real bad pictures have it, drawn at random.

The 25 types of the catalogue are even, single and in fixed steps. Real pictures are rarely so: the light is poor, so
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


def soft_lens(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian, sigma 0.4 to 3.6 px on a picture of 512."""
    return cv2.GaussianBlur(image, (0, 0), 0.4 * 9**strength * _size(image), borderType=cv2.BORDER_REFLECT_101)


def tone_curve(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Another gamma and contrast: flat or harsh, lighter or darker, without a burnt-out part of its own."""
    values = (np.arange(256) / 255) ** np.exp(rng.normal(0, 0.1 + 0.5 * strength))
    values = (values - 0.5) * (1 + strength * rng.uniform(-0.75, 0.35)) + 0.5
    return np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)[image]


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
    return _dim(image, strength, rng, noisy=True)


def dim_light(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """[`low_light`] without the noise."""
    return _dim(image, strength, rng, noisy=False)


def _dim(image: np.ndarray, strength: float, rng: np.random.Generator, noisy: bool) -> np.ndarray:
    stops, amplified = 4 * strength, rng.uniform(0.3, 0.9)
    warm = np.float32([1.0, 1 - 0.12 * strength, 1 - 0.3 * strength * rng.random()])
    light = _linear(image) * 2**-stops
    return _display((_sense(light, 2500.0, rng) if noisy else light) * 2 ** (stops * amplified) * warm)


def film_grain(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Grain alike in all channels, 1.5 to 30 grey levels strong, fine or coarse."""
    grain = rng.standard_normal(image.shape[:2], dtype=np.float32)
    if rng.random() < 0.6:
        grain = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.4, 1.1))
    grain *= 1.5 * 20**strength / max(float(grain.std()), 1e-6)
    return np.clip(image + grain[..., None] + 0.5, 0, 255).astype(np.uint8)


def color_noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of its own in every channel, 1.5 to 30 grey levels strong, as it leaves a sensor or slightly blurred."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if rng.random() < 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.4, 1.1))
    noise *= 1.5 * 20**strength / max(float(noise.std()), 1e-6)
    return np.clip(image + noise + 0.5, 0, 255).astype(np.uint8)


def smoothing(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Noise removed too well: sensor noise, then an edge-keeping filter that takes the texture with it."""
    return smooth_surfaces(sensor_noise(image, 0.3 + 0.5 * strength, rng), strength, rng)


def smooth_surfaces(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """[`smoothing`] where there was no noise: the texture that its filter takes."""
    reach = 3 + 2 * round(2 * strength)
    return cv2.bilateralFilter(image, reach, 15 + 80 * strength, 2 + 4 * strength)


def upscaling(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Shrunk 1.15 to 5 times and enlarged again, by one of several filters each way."""
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[rng.choice(3, p=[0.4, 0.4, 0.2])]
    return _rescale(image, strength, rng, how)


def pixelation(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Shrunk 1.15 to 5 times and enlarged by repeating pixels."""
    return _rescale(image, strength, rng, cv2.INTER_NEAREST_EXACT)


def _rescale(image: np.ndarray, strength: float, rng: np.random.Generator, enlarging: int) -> np.ndarray:
    height, width = image.shape[:2]
    factor = 1.15 * 4.4**strength
    small = (max(4, round(width / factor)), max(4, round(height / factor)))
    shrinking = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.choice(3, p=[0.6, 0.2, 0.2])]
    return cv2.resize(cv2.resize(image, small, interpolation=shrinking), (width, height), interpolation=enlarging)


def recompression(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Saved one to three times as JPEG or WebP, at a slightly other size in between, as uploads are."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    for turn in range(int(rng.integers(1, 4))):
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


PHASES: dict[str, tuple[Callable[[np.ndarray, float, np.random.Generator], np.ndarray], ...]] = {
    "light": (tone_curve, haze, over_exposure, under_exposure, color_cast),
    "lens": (out_of_focus, hand_shake, soft_lens),
    "size": (upscaling, pixelation),
    "sensor": (low_light, sensor_noise, film_grain, color_noise, smoothing),
    "processing": (over_processing,),
    "coding": (recompression,),
}
"""What can happen to a picture, in the order in which it does."""

_LIKELY = {"light": 0.4, "lens": 0.45, "size": 0.4, "sensor": 0.4, "processing": 0.15, "coding": 0.55}
"""How often a history has a step of each phase."""

AUTHENTIC: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    function.__name__: function for phase in PHASES.values() for function in phase
}
"""Name -> function, in the order in which [`Degradation.apply`] uses them."""

LOCAL = ("out_of_focus", "hand_shake", "soft_lens", "smoothing", "upscaling", "recompression")
"""Those that may hit one part of a picture only, as depth of field, motion and coarse coding do."""

_RENDERING = {
    "low_light": dim_light,
    "sensor_noise": None,
    "film_grain": None,
    "color_noise": None,
    "smoothing": smooth_surfaces,
    "pixelation": upscaling,
    "over_processing": None,
    "recompression": None,
}
"""What a step does to the rendering of the scene, where that is not all that it does; `None`: nothing."""


@dataclass(frozen=True)
class Degradation:
    """A history of damage: `steps` are (name, strength) in the order of [`AUTHENTIC`], empty for none."""

    steps: tuple[tuple[str, float], ...]

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Carries it out: uint8 `[H, W, 3]` to the same."""
        for (name, strength), own in zip(self.steps, _own(rng, len(self.steps)), strict=True):
            image = AUTHENTIC[name](image, strength, own)
        return image

    def render(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The rendering of the scene: what light, lens and size left of it, before noise, sharpening and coding.

        With a generator in the state that [`apply`] had, light, lens and size do exactly what they did there.
        """
        for (name, strength), own in zip(self.steps, _own(rng, len(self.steps)), strict=True):
            function = _RENDERING.get(name, AUTHENTIC[name])
            image = image if function is None else function(image, strength, own)
        return image


def _own(rng: np.random.Generator, count: int) -> list[np.random.Generator]:
    """A generator for each step, so that one step's draws do not depend on another's."""
    return [np.random.default_rng(int(seed)) for seed in rng.integers(2**63, size=count)]


def draw(rng: np.random.Generator, among: Sequence[str] = tuple(AUTHENTIC)) -> Degradation:
    """A history of at least one step out of `among`, at most one of each phase, at strengths that favour the weak."""
    choices = {phase: [f.__name__ for f in functions if f.__name__ in among] for phase, functions in PHASES.items()}
    choices = {phase: names for phase, names in choices.items() if names}
    steps: list[tuple[str, float]] = []
    while not steps:
        for phase, names in choices.items():
            if rng.random() < _LIKELY[phase]:
                steps.append((str(rng.choice(names)), float(0.03 + 0.97 * rng.random() ** 1.3)))
    return Degradation(tuple(steps))


def subject_mask(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mask of the probable subject of a photo: a soft ellipse around the detail nearest to the middle.

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
