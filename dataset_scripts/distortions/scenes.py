"""Kinds of pictures that photo collections lack, made of photos: portraits, black-and-white, night, cut-outs, bars.

Except for [`film_grain`], none of these does damage: a portrait with a soft background, a clean black-and-white print
or a clean night scene is a good picture, and the measures and training data made here say so.

Every function takes and returns an RGB picture, `uint8 [H, W, 3]`, and leaves its input as it was.
"""

import cv2
import numpy as np

from dataset_scripts.distortions.authentic import out_of_focus, sensor_noise, spread


_LUMA = np.float32([0.299, 0.587, 0.114])


def portrait_mask(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draws where the subject of a portrait would be: a head over shoulders, or an upright ellipse.

    Args:
        height, width (`int`): of the picture, in pixels.
        rng (`np.random.Generator`): place, size and softness are drawn.

    Returns:
        `np.ndarray`: float32 `[height, width]` in [0, 1], 1 on the subject: a fifteenth to half of it.
    """
    mask = np.zeros((height, width), np.uint8)
    side = min(width, height * 0.9)
    x, y = width * rng.uniform(0.36, 0.64), height * rng.uniform(0.36, 0.46)
    if rng.random() < 0.6:
        head = side * rng.uniform(0.16, 0.22)
        neck, shoulders = y + head * 1.2, head * rng.uniform(2.0, 2.6)
        cv2.ellipse(mask, (round(x), round(y)), (round(head), round(head * 1.3)), 0, 0, 360, 255, -1, cv2.LINE_AA)
        body = (round(shoulders), round(height - neck))
        cv2.ellipse(mask, (round(x), height), body, 0, 180, 360, 255, -1, cv2.LINE_AA)
    else:
        axes = (round(side * rng.uniform(0.24, 0.34)), round(height * rng.uniform(0.3, 0.4)))
        place = (round(x), round(height * rng.uniform(0.45, 0.55)))
        cv2.ellipse(mask, place, axes, rng.uniform(-15, 15), 0, 360, 255, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), max(1.0, min(height, width) * rng.uniform(0.004, 0.03)))
    return soft.astype(np.float32) / 255


def soft_background(photo: np.ndarray, mask: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Puts all but the subject out of focus, as a portrait lens does: a good picture.

    Args:
        photo (`np.ndarray`): uint8 `[H, W, 3]`.
        mask (`np.ndarray`): float32 `[H, W]`, 1 on the subject, as from [`portrait_mask`].
        strength (`float`): of [`~dataset_scripts.distortions.authentic.out_of_focus`], in (0, 1].
        rng (`np.random.Generator`): source of chance.
    """
    return spread(photo, out_of_focus(photo, strength, rng), 1 - mask)


def soft_subject(photo: np.ndarray, mask: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Puts the subject out of focus and keeps the background sharp: a photo with the focus missed.

    Takes the same as [`soft_background`].
    """
    return spread(photo, out_of_focus(photo, strength, rng), mask)


def black_and_white(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Develops a photo as black-and-white: a colour filter, a paper's contrast, sometimes a tone."""
    share = rng.dirichlet(2 + 6 * _LUMA).astype(np.float32)
    light = photo.astype(np.float32) @ (0.5 * share + 0.5 * _LUMA) / 255
    contrast = rng.uniform(0, 0.5)
    light = (1 - contrast) * light + contrast * (3 * light**2 - 2 * light**3)
    tone = np.ones(3, np.float32)
    if rng.random() < 0.2:  # sepia or selenium
        tone += np.float32([0.06, 0, -0.1]) * rng.uniform(-0.5, 1.5)
    return np.clip(light[..., None] * tone * 255 + 0.5, 0, 255).astype(np.uint8)


def film_grain(photo: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Adds grain of film: the same in all channels, in clumps, most in the midtones.

    The suite measures with it. Training learns from another, [`dataset_scripts.distortions.authentic.film_grain`], so
    that a model is not asked about the very noise it was taught.

    Args:
        photo (`np.ndarray`): uint8 `[H, W, 3]`.
        strength (`float`): in (0, 1]; the grain's standard deviation in the midtones is 40 times that in grey levels.
        rng (`np.random.Generator`): size of the clumps, and the grain.
    """
    grain = rng.standard_normal(photo.shape[:2], dtype=np.float32)
    clump = rng.uniform(0, 1.1)
    if clump > 0.35:
        grain = cv2.GaussianBlur(grain, (0, 0), clump)
        grain /= grain.std()
    light = photo.astype(np.float32) @ _LUMA / 255
    grain *= 40 * strength * (0.35 + 2.6 * light * (1 - light))
    return np.clip(photo + grain[..., None] + 0.5, 0, 255).astype(np.uint8)


def night(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turns a photo into a clean night scene: little light, a cast of lamps or moon, bright spots kept."""
    light = (photo.astype(np.float32) / 255) ** 2.2
    bright = cv2.GaussianBlur(light.max(axis=2), (0, 0), 2)[..., None]
    share = 2.0 ** -rng.uniform(2, 4.5)
    share = share + (0.9 - share) * np.clip((bright - rng.uniform(0.6, 0.9)) * 4, 0, 1)  # lamps and windows
    cast = np.float32([1, 0.85, 0.65] if rng.random() < 0.5 else [0.75, 0.88, 1])
    cast += (1 - cast) * rng.uniform(0, 0.8)
    return (np.clip(light * share * cast, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


def night_noise(photo: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Adds what a sensor adds in the dark, over the noise that light itself has; sigma up to 25 grey levels.

    Args:
        photo (`np.ndarray`): uint8 `[H, W, 3]`, a dark one.
        strength (`float`): in (0, 1].
        rng (`np.random.Generator`): how much of the noise is colour, and the noise.
    """
    noisy = sensor_noise(photo, 0.5 * strength, rng).astype(np.float32)
    colour = rng.uniform(0.2, 1)
    noise = colour * rng.standard_normal(photo.shape, dtype=np.float32)
    noise += (1 - colour) * rng.standard_normal((*photo.shape[:2], 1), dtype=np.float32)
    return np.clip(noisy + 22 * strength * noise + 0.5, 0, 255).astype(np.uint8)


def letterbox(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sets a photo between bars, above and below or at the sides; black, sometimes white, grey or the photo blurred.

    The photo keeps its pixels: the picture becomes larger by a tenth to two thirds in one direction.
    """
    height, width = photo.shape[:2]
    upright = rng.random() < 0.7
    bar = round((height if upright else width) * rng.uniform(0.05, 0.33))
    sides = (bar, bar, 0, 0) if upright else (0, 0, bar, bar)
    kind = rng.random()
    if kind < 0.15:
        size = (width + 2 * sides[2], height + 2 * sides[0])
        tiny = cv2.GaussianBlur(cv2.resize(photo, (64, 64), interpolation=cv2.INTER_AREA), (0, 0), 3)
        picture = cv2.resize(tiny, size, interpolation=cv2.INTER_CUBIC)
        picture[sides[0] : sides[0] + height, sides[2] : sides[2] + width] = photo
        return picture
    grey = 0 if kind < 0.7 else 255 if kind < 0.85 else int(rng.integers(20, 236))
    return cv2.copyMakeBorder(photo, *sides, cv2.BORDER_CONSTANT, value=(grey, grey, grey))


def cut_out(photo: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sets a subject before nothing: black or white, sometimes another plain colour, as in shops and icons.

    Args:
        photo (`np.ndarray`): uint8 `[H, W, 3]`.
        mask (`np.ndarray`): float32 `[H, W]`, 1 on the subject; its edge is made sharp.
        rng (`np.random.Generator`): the colour.
    """
    kind = rng.random()
    colour = rng.integers(0, 256, 3) if kind > 0.85 else np.full(3, 0 if kind < 0.4 else 255)
    ground = np.broadcast_to(colour.astype(np.uint8), photo.shape)
    return spread(photo, ground, 1 - np.clip((mask - 0.5) * 8 + 0.5, 0, 1))
