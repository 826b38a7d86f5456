"""The table of all distortions and the functions that apply one by name.

The 25 types of image are those of KADID-10k and KADIS-700K (Lin, Hosu, Saupe, QoMEX 2019), in its order. Levels follow
the settings known of it; where one changes nothing at all or runs against the order of the levels, ours differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dataset_scripts.distortions import blur, brightness, color, compression, noise, sharpness_contrast, spatial, video
from modeling_vital.vocabulary import IMAGE_DISTORTION_WORDS, SEVERITY_WORDS, VIDEO_DISTORTION_WORDS


ORIGINAL_TAG = "none"
"""The tag of a version that nothing was done to."""

_LEAST_SIDE = 8


@dataclass(frozen=True)
class Distortion:
    """One way to damage a picture or a clip, at five severities.

    Args:
        name: snake_case key in `DISTORTIONS`.
        family: file it belongs to and group it is sampled with, such as `blur` or `video`.
        words: what a tag calls it, without the severity.
        modality: `image` or `video`.
        parameters: the one setting, for severity 1..5; what it means is told in `meaning`.
        apply: images: `(image, parameter)` or `(image, parameter, rng)`; clips: `(frames, parameter, rng, fps)`.
        meaning: what the parameter is, with its unit.
        rendering: images only, what the distortion does to the rendering of the scene, apart from what it adds on top:
            `same`: all of it, as blur and light do. `none`: nothing, as noise, sharpening and coding. A function,
            called as `apply` is: that. See [`dataset_scripts.distortions.scene_rendering.render`].
        draws: images only, what the generator decides. `layout`: places and directions, the same for all frames of a
            clip. `noise`: fresh on each frame. `none`: nothing, `apply` takes no generator.
    """

    name: str
    family: str
    words: str
    modality: Literal["image", "video"]
    parameters: tuple[Any, Any, Any, Any, Any]
    apply: Callable[..., np.ndarray]
    meaning: str
    draws: Literal["none", "layout", "noise"] = "none"
    rendering: Literal["same", "none"] | Callable[..., np.ndarray] = "same"

    def __post_init__(self) -> None:
        if len(self.parameters) != len(SEVERITY_WORDS):
            raise ValueError(f"{self.name} needs {len(SEVERITY_WORDS)} parameters, got {len(self.parameters)}")


def _image(
    name: str,
    family: str,
    apply: Callable[..., np.ndarray],
    parameters: tuple[Any, Any, Any, Any, Any],
    meaning: str,
    draws: Literal["none", "layout", "noise"] = "none",
    rendering: Literal["same", "none"] | Callable[..., np.ndarray] = "same",
) -> Distortion:
    return Distortion(
        name, family, IMAGE_DISTORTION_WORDS[name], "image", parameters, apply, meaning, draws, rendering
    )


def _video(
    name: str,
    apply: Callable[..., np.ndarray],
    parameters: tuple[Any, Any, Any, Any, Any],
    meaning: str,
) -> Distortion:
    return Distortion(name, "video", VIDEO_DISTORTION_WORDS[name], "video", parameters, apply, meaning)


# fmt: off
_IMAGE_TABLE = (
    _image("gaussian_blur", "blur", blur.gaussian_blur,
           (0.4, 0.7, 1.2, 2.2, 5.0), "sigma, px"),
    _image("lens_blur", "blur", blur.lens_blur,
           (1.0, 2.0, 4.0, 6.0, 8.0), "radius of the disk, px"),
    _image("motion_blur", "blur", blur.motion_blur,
           (2.0, 3.5, 6.0, 9.0, 14.0), "length of the path, px", "layout"),
    _image("color_diffusion", "color", color.color_diffusion,
           (3.5, 6.5, 11.0, 14.0, 20.0), "sigma on a and b, px"),
    _image("color_shift", "color", color.color_shift,
           (1.0, 3.0, 6.0, 8.0, 12.0), "move of green, px", "layout"),
    _image("color_quantization", "color", color.color_quantization,
           (64, 48, 32, 16, 8), "colors in the palette", rendering="none"),
    _image("color_saturation_hsv", "color", color.color_saturation_hsv,
           (0.7, 0.4, 0.2, 0.0, -0.4), "factor on S of HSV"),
    _image("color_saturation_lab", "color", color.color_saturation_lab,
           (1.4, 2.0, 3.0, 6.0, 9.0), "factor on a and b of Lab"),
    _image("jpeg2000", "compression", compression.jpeg2000,
           (16, 32, 45, 120, 170), "compression ratio", rendering="none"),
    _image("jpeg", "compression", compression.jpeg,
           (43, 36, 24, 7, 4), "libjpeg quality", rendering="none"),
    _image("white_noise", "noise", noise.white_noise,
           (0.001, 0.002, 0.003, 0.005, 0.01), "variance, values in 0..1", "noise", rendering="none"),
    _image("white_noise_color", "noise", noise.white_noise_color,
           (0.0001, 0.0005, 0.001, 0.002, 0.003), "variance in YCbCr, values in 0..1", "noise", rendering="none"),
    _image("impulse_noise", "noise", noise.impulse_noise,
           (0.001, 0.005, 0.01, 0.02, 0.03), "share of the values hit", "noise", rendering="none"),
    _image("multiplicative_noise", "noise", noise.multiplicative_noise,
           (0.001, 0.005, 0.01, 0.02, 0.05), "variance of the factor", "noise", rendering="none"),
    _image("denoise", "noise", noise.denoise,
           (0.001, 0.0025, 0.005, 0.01, 0.02), "variance before the filter, values in 0..1", "noise",
           rendering="none"),
    _image("brighten", "brightness", brightness.brighten,
           (0.1, 0.2, 0.4, 0.6, 0.85), "rise of mid lightness, times 2"),
    _image("darken", "brightness", brightness.darken,
           (0.05, 0.1, 0.2, 0.4, 0.8), "fall of mid lightness, times 2"),
    _image("mean_shift", "brightness", brightness.mean_shift,
           (0.03, 0.06, 0.09, 0.13, 0.18), "constant added or taken, values in 0..1", "layout"),
    _image("jitter", "spatial", spatial.jitter,
           (0.1, 0.2, 0.45, 1.1, 2.2), "std of the offset in x and in y, px", "layout", rendering="none"),
    _image("non_eccentricity_patch", "spatial", spatial.non_eccentricity_patch,
           (20, 40, 60, 80, 100), "16 x 16 patches on 512 x 384", "layout", rendering="none"),
    _image("pixelate", "spatial", spatial.pixelate,
           (0.88, 0.78, 0.70, 0.57, 0.29), "size of the small picture over the full size",
           rendering=spatial.shrink_and_enlarge),
    _image("quantization", "spatial", spatial.quantization,
           (20, 16, 13, 10, 7), "values kept", rendering="none"),
    _image("color_block", "spatial", spatial.color_block,
           (2, 4, 6, 8, 10), "32 x 32 blocks on 512 x 384", "layout", rendering="none"),
    _image("high_sharpen", "sharpness_contrast", sharpness_contrast.high_sharpen,
           (1.0, 2.0, 3.0, 6.0, 12.0), "factor on the detail", rendering="none"),
    _image("contrast_change", "sharpness_contrast", sharpness_contrast.contrast_change,
           (0.08, 0.15, 0.28, 0.42, 0.6), "move of the quarter points, times 4", "layout"),
)

_VIDEO_TABLE = (
    _video("h264_compression", video.h264_compression,
           (28, 34, 39, 44, 50), "constant rate factor of libx264"),
    _video("h265_compression", video.h265_compression,
           (28, 34, 39, 44, 50), "constant rate factor of libx265"),
    _video("stutter", video.stutter,
           ((0.08, 0.10), (0.15, 0.15), (0.25, 0.22), (0.40, 0.32), (0.60, 0.45)),
           "share of the clip held, length of one hold in s"),
    _video("frame_drop_rate", video.frame_drop_rate,
           (2, 3, 4, 6, 8), "frames shown for one kept"),
    _video("flicker", video.flicker,
           (0.02, 0.05, 0.09, 0.15, 0.25), "gain up or down on a frame"),
    _video("temporal_noise", video.temporal_noise,
           ((0.10, 0.001), (0.20, 0.002), (0.30, 0.004), (0.40, 0.01), (0.50, 0.02)),
           "share of the frames hit, variance on them"),
    _video("bitrate_switch", video.bitrate_switch,
           (30, 35, 40, 45, 51), "constant rate factor of every second segment"),
)
# fmt: on

DISTORTIONS: dict[str, Distortion] = {entry.name: entry for entry in _IMAGE_TABLE + _VIDEO_TABLE}
IMAGE_DISTORTIONS: tuple[str, ...] = tuple(entry.name for entry in _IMAGE_TABLE)
VIDEO_DISTORTIONS: tuple[str, ...] = tuple(entry.name for entry in _VIDEO_TABLE)


def get_distortion(name: str) -> Distortion:
    """Looks a distortion up.

    Args:
        name: key in `DISTORTIONS`.

    Returns:
        The entry.

    Raises:
        ValueError: no distortion has this name; the message lists those there are.
    """
    if name not in DISTORTIONS:
        raise ValueError(f"unknown distortion {name!r}; known are {', '.join(sorted(DISTORTIONS))}")
    return DISTORTIONS[name]


def _check_severity(severity: int) -> int:
    whole = isinstance(severity, int | np.integer) and not isinstance(severity, bool)
    if not whole or not 1 <= severity <= len(SEVERITY_WORDS):
        raise ValueError(f"severity must be a whole number from 1 to {len(SEVERITY_WORDS)}, got {severity!r}")
    return int(severity)


def _check_pixels(pixels: np.ndarray, dimensions: int, layout: str) -> None:
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        found = pixels.dtype if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ValueError(f"expected a uint8 array {layout} in RGB, got {found}")
    if pixels.ndim != dimensions or pixels.shape[-1] != 3:
        raise ValueError(f"expected shape {layout} in RGB, got {pixels.shape}")
    if min(pixels.shape[-3:-1]) < _LEAST_SIDE:
        raise ValueError(f"height and width must be at least {_LEAST_SIDE} px, got shape {pixels.shape}")
    if dimensions == 4 and pixels.shape[0] == 0:
        raise ValueError(f"a clip needs at least one frame, got shape {pixels.shape}")


def tag(name: str, severity: int) -> str:
    """Says a distortion in words, as the training texts do.

    Args:
        name: key in `DISTORTIONS`.
        severity: 1 (least)..5.

    Returns:
        Severity word and distortion words, such as "relatively severe white noise".

    Raises:
        ValueError: unknown name, or severity out of range.
    """
    words = get_distortion(name).words
    return f"{SEVERITY_WORDS[_check_severity(severity) - 1]} {words}"


def distort_image(image: np.ndarray, name: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Applies one distortion to a picture.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`, both sides at least 8; not changed.
        name: key in `DISTORTIONS` of an image distortion.
        severity: 1 (least)..5.
        rng: the only source of chance.

    Returns:
        The distorted picture, a new array, `uint8 [H, W, 3]`.

    Raises:
        ValueError: unknown name, a video distortion, severity out of range, or not such a picture.
    """
    entry = get_distortion(name)
    if entry.modality != "image":
        raise ValueError(
            f"{name!r} needs a clip: call distort_clip; for pictures there are {', '.join(IMAGE_DISTORTIONS)}"
        )
    parameter = entry.parameters[_check_severity(severity) - 1]
    _check_pixels(image, 3, "[H, W, 3]")
    image = np.ascontiguousarray(image)
    return entry.apply(image, parameter) if entry.draws == "none" else entry.apply(image, parameter, rng)


def distort_clip(
    frames: np.ndarray, name: str, severity: int, rng: np.random.Generator, fps: float = 30.0
) -> np.ndarray:
    """Applies one distortion to a clip; an image distortion goes over every frame.

    Places and directions are drawn once a clip, noise is fresh on every frame.

    Args:
        frames: RGB clip, `uint8 [T, H, W, 3]`, T at least 1, both sides at least 8; not changed.
        name: key in `DISTORTIONS`.
        severity: 1 (least)..5.
        rng: the only source of chance.
        fps: frames a second, 1..1000; sets the length of holds and segments.

    Returns:
        The distorted clip with as many frames, a new array, `uint8 [T, H, W, 3]`.

    Raises:
        ValueError: unknown name, severity or fps out of range, or not such a clip.
    """
    entry = get_distortion(name)
    parameter = entry.parameters[_check_severity(severity) - 1]
    _check_pixels(frames, 4, "[T, H, W, 3]")
    if not 1 <= fps <= 1000:
        raise ValueError(f"fps must be from 1 to 1000, got {fps!r}")
    frames = np.ascontiguousarray(frames)
    if entry.modality == "video":
        return entry.apply(frames, parameter, rng, fps)
    if entry.draws == "none":
        return np.stack([entry.apply(frame, parameter) for frame in frames])
    if entry.draws == "noise":
        return np.stack([entry.apply(frame, parameter, rng) for frame in frames])
    seed = int(rng.integers(2**63))
    return np.stack([entry.apply(frame, parameter, np.random.default_rng(seed)) for frame in frames])
