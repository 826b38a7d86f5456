"""Colour distortions: diffusion, shift, quantisation and two saturation changes, types 4-8 of KADID-10k.

Every function takes and returns an RGB picture, `uint8 [H, W, 3]`, and leaves its input as it was. sRGB is read as
D65; Lab has L in 0..100 and a, b around 0.
"""

import math

import cv2
import numpy as np
from PIL import Image


# The palette is learned on about this many pixels a side: all pixels take fifty times as long and the palettes differ
# by less than the dither hides.
_PALETTE_SIDE = 32
_REFINE_STEPS = 2
# Below this sum of squares a cluster is one colour up to rounding.
_NO_SPREAD = 0.1
# Chroma blurred with a larger sigma than this many pixels is blurred on a smaller copy: nothing finer survives anyway.
_DIRECT_SIGMA = 4.0


def rgb_to_lab(image: np.ndarray) -> np.ndarray:
    """Converts sRGB to CIE Lab.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.

    Returns:
        L in 0..100, a and b within about -128..127, `float32 [H, W, 3]`.
    """
    return cv2.cvtColor(image.astype(np.float32) * np.float32(1 / 255), cv2.COLOR_RGB2LAB)


def lab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """Converts CIE Lab to sRGB; colours outside the gamut are clipped channel by channel.

    Args:
        lab: L in 0..100 and a, b, `float32 [H, W, 3]`.

    Returns:
        RGB picture, `uint8 [H, W, 3]`.
    """
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return cv2.add(rgb * np.float32(255), 0.0, dtype=cv2.CV_8U)


def color_diffusion(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs the colour channels (a and b of Lab) and keeps the lightness sharp, so that colours bleed over edges.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        sigma: standard deviation of the Gaussian in pixels, above 0.

    Returns:
        The distorted picture, `uint8 [H, W, 3]`.
    """
    lab = rgb_to_lab(image)
    chroma = np.ascontiguousarray(lab[..., 1:])
    height, width = chroma.shape[:2]
    factor = max(1, int(sigma / _DIRECT_SIGMA))
    small = (max(1, math.ceil(width / factor)), max(1, math.ceil(height / factor)))
    if factor > 1:
        chroma = cv2.resize(chroma, small, interpolation=cv2.INTER_AREA)
    chroma = cv2.GaussianBlur(chroma, (0, 0), sigma / factor)
    if factor > 1:
        chroma = cv2.resize(chroma, (width, height), interpolation=cv2.INTER_LINEAR)
    lab[..., 1:] = chroma
    return lab_to_rgb(lab)


def edge_mask(image: np.ndarray) -> np.ndarray:
    """Computes how strongly each pixel lies on an edge, for `color_shift`.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.

    Returns:
        Gradient magnitude of the grey picture over its own 98th percentile, in 0..1, `float32 [H, W]`.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    magnitude = cv2.magnitude(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    # A quarter of the pixels in each direction tell the percentile well enough.
    scale = float(np.percentile(magnitude[::4, ::4], 98))
    return np.minimum(magnitude / max(scale, 1.0), 1.0)


def color_shift(image: np.ndarray, distance: float, rng: np.random.Generator) -> np.ndarray:
    """Moves the green channel in a random direction and blends it in along the edges.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        distance: length of the move in pixels, at least 1; never more than a quarter of the shorter side.
        rng: draws the direction, uniform over the circle.

    Returns:
        The distorted picture, `uint8 [H, W, 3]`.
    """
    height, width = image.shape[:2]
    distance = min(distance, max(1.0, min(height, width) / 4))
    angle = rng.uniform(0.0, 2 * math.pi)
    move = np.array([[1, 0, distance * math.cos(angle)], [0, 1, distance * math.sin(angle)]], np.float32)
    green = np.ascontiguousarray(image[..., 1])
    moved = cv2.warpAffine(green, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    # The ghost of an edge lies beside it, so the mask is widened by the move: the fringe is seen as far as it reaches.
    reach = 2 * math.ceil(distance) + 1
    mask = cv2.blur(cv2.dilate(edge_mask(image), np.ones((reach, reach), np.uint8)), (reach, reach))
    blended = green + mask * (moved.astype(np.float32) - green)
    result = image.copy()
    result[..., 1] = cv2.add(blended, 0.0, dtype=cv2.CV_8U)
    return result


def _squared_spread(pixels: np.ndarray) -> np.ndarray:
    """Sums the squared distances to the mean, channel by channel: `float32 [N, 3]` to `float32 [3]`."""
    centered = pixels - pixels.sum(axis=0) / np.float32(len(pixels))
    return np.einsum("nc,nc->c", centered, centered)


def variance_palette(pixels: np.ndarray, colors: int) -> np.ndarray:
    """Finds a palette that leaves little variance: the worst cluster is halved again and again, then all are refined.

    Args:
        pixels: colours to cover, `float32 [N, 3]`.
        colors: size of the palette, at least 1.

    Returns:
        Palette, in the range of `pixels`, `float32 [K, 3]`; K is below `colors` if there are fewer different colours.
    """
    clusters, spreads = [pixels], [_squared_spread(pixels)]
    errors = [float(spreads[0].sum())]
    while len(clusters) < colors:
        worst = int(np.argmax(errors))
        if errors[worst] <= _NO_SPREAD:
            break
        cluster = clusters.pop(worst)
        axis = int(spreads.pop(worst).argmax())
        errors.pop(worst)
        values = cluster[:, axis]
        above = values > values.sum() / len(values)
        for part in (cluster[~above], cluster[above]):
            clusters.append(part)
            spreads.append(_squared_spread(part))
            errors.append(float(spreads[-1].sum()))
    palette = np.stack([cluster.mean(axis=0) for cluster in clusters])
    for _ in range(_REFINE_STEPS):
        # |p - c|^2 without the term that is the same for all c.
        nearest = ((palette**2).sum(axis=1) - 2.0 * (pixels @ palette.T)).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(palette))
        sums = [np.bincount(nearest, weights=pixels[:, channel], minlength=len(palette)) for channel in range(3)]
        means = np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]
        palette = np.where(counts[:, None] > 0, means, palette).astype(np.float32)
    return palette


def color_quantization(image: np.ndarray, colors: int) -> np.ndarray:
    """Reduces the picture to a minimum-variance palette of its own, with error-diffusion dither.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        colors: number of palette entries, 2..256.

    Returns:
        The distorted picture with at most `colors` different colours, `uint8 [H, W, 3]`.
    """
    steps = [max(1, math.ceil(side / _PALETTE_SIDE)) for side in image.shape[:2]]
    pixels = image[:: steps[0], :: steps[1]].reshape(-1, 3).astype(np.float32)
    entries = np.rint(variance_palette(pixels, colors)).astype(np.uint8)
    holder = Image.new("P", (1, 1))
    holder.putpalette(entries.tobytes())
    indexed = Image.fromarray(image).quantize(palette=holder, dither=Image.Dither.FLOYDSTEINBERG)
    return entries[np.asarray(indexed)]


def color_saturation_hsv(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies the saturation of HSV, hue and value kept: below 1 colours fade, below 0 they become their opposites.

    With `V = max(R, G, B)` the conversion to HSV and back is the straight line `V - factor * (V - RGB)`.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        factor: factor on the saturation; 1 changes nothing.

    Returns:
        The distorted picture, `uint8 [H, W, 3]`.
    """
    value = cv2.max(cv2.max(image[..., 0], image[..., 1]), image[..., 2])
    return cv2.addWeighted(image, factor, cv2.merge((value, value, value)), 1.0 - factor, 0.0)


def color_saturation_lab(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies a and b of Lab: above 1 colours become garish.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        factor: factor on both colour channels; 1 changes nothing.

    Returns:
        The distorted picture, `uint8 [H, W, 3]`.
    """
    lab = rgb_to_lab(image)
    lab[..., 1:] *= np.float32(factor)
    return lab_to_rgb(lab)
