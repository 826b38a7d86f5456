"""The rendering of a scene: what a version shows of its original, apart from what was added on top.

Blur, light and shrinking change how a scene is rendered. Noise, sharpening and coding add something to the rendering,
and an annotator that measures detail or light would take it for the scene's own. Where the history of a version is
known, [`render`] makes the picture that such annotators look at.
"""

from collections.abc import Sequence

import numpy as np

from dataset_scripts.distortions.catalogue import distort_image, get_distortion


def distort(image: np.ndarray, steps: Sequence[tuple[str, int]], rng: np.random.Generator) -> np.ndarray:
    """Applies distortions of the catalogue one after the other.

    Args:
        image (`np.ndarray`): RGB uint8 `[H, W, 3]`.
        steps (`Sequence[tuple[str, int]]`): name of an image distortion and severity 1..5.
        rng (`np.random.Generator`): source of chance.

    Returns:
        `np.ndarray`: uint8 `[H, W, 3]`; `image` itself where there is no step.
    """
    for (name, severity), seed in zip(steps, rng.integers(2**63, size=len(steps)), strict=True):
        image = distort_image(image, name, severity, np.random.default_rng(int(seed)))
    return image


def render(image: np.ndarray, steps: Sequence[tuple[str, int]], rng: np.random.Generator) -> np.ndarray:
    """The rendering that [`distort`] leaves, with a generator in the state that it had.

    Returns:
        `np.ndarray`: uint8 `[H, W, 3]`; `image` itself where no step changes the rendering.
    """
    for (name, severity), seed in zip(steps, rng.integers(2**63, size=len(steps)), strict=True):
        entry = get_distortion(name)
        if entry.rendering == "none":
            continue
        function = entry.apply if entry.rendering == "same" else entry.rendering
        more = () if entry.draws == "none" else (np.random.default_rng(int(seed)),)
        image = function(np.ascontiguousarray(image), entry.parameters[severity - 1], *more)
    return image


def render_clip(frames: np.ndarray, steps: Sequence[tuple[str, int]], rng: np.random.Generator) -> np.ndarray:
    """The rendering that distortions leave of a clip: that of each frame. Coding and timing do not change it.

    Args:
        frames (`np.ndarray`): RGB uint8 `[T, H, W, 3]`.
        steps (`Sequence[tuple[str, int]]`): name of a distortion and severity 1..5.
        rng (`np.random.Generator`): source of chance, the same for every frame.

    Returns:
        `np.ndarray`: uint8 `[T, H, W, 3]`; `frames` itself where no step changes the rendering.
    """
    entries = [(get_distortion(name), (name, severity)) for name, severity in steps]
    changing = [step for entry, step in entries if entry.modality == "image" and entry.rendering != "none"]
    if not changing:
        return frames
    seed = int(rng.integers(2**63))
    return np.stack([render(frame, changing, np.random.default_rng(seed)) for frame in frames])
