"""Annotators: models and metrics that give a picture or a clip one raw quality score."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import cv2
import numpy as np


logger = logging.getLogger(__name__)

MIN_SIDE = 32


class MissingPackageError(ImportError):
    """An annotator needs a package or a file that is not there; the message says which and how to get it."""


class Annotator(ABC):
    """Base of all annotators. A subclass states the class attributes and implements [`_score`].

    Raw scores are on the annotator's own scale; `dataset_scripts.annotators.human_scale` brings them to [0, 1].

    Attributes:
        name (`str`): key in the table of `annotators/__init__.py`.
        version (`str`): changes whenever raw scores change; a calibration is for one version.
        license (`str`): of the model and its weights.
        higher_is_better (`bool`): direction of the raw score.
        raw_range (`tuple[float, float]`): least and greatest raw score; may be infinite.
        needs_reference (`bool`): the undistorted original must be given.
        of_rendering (`bool`): where the history of a version is known, it looks at the rendering of the scene, before
            noise, sharpening and coding: see [`dataset_scripts.distortions.scene_rendering.render`].
        by_rank (`bool`): calibrated by its rank among versions of photos, having no human scale.
        modality (`str`): `"image"` (uint8 `[H, W, 3]`) or `"video"` (uint8 `[T, H, W, 3]`), RGB.
        run (`str`): how far this project has run it, for the table of `python -m dataset_scripts.annotators`.
        reference (`str`): the publication.
        device (`str`): where it computes.
        errors (`dict[int, str]`): of the last [`score_batch`]: index of each item that failed, and why.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    license: ClassVar[str]
    higher_is_better: ClassVar[bool]
    raw_range: ClassVar[tuple[float, float]]
    needs_reference: ClassVar[bool]
    of_rendering: ClassVar[bool] = False
    by_rank: ClassVar[bool] = False
    modality: ClassVar[Literal["image", "video"]] = "image"
    run: ClassVar[str] = "run"
    reference: ClassVar[str] = ""

    def __init__(self) -> None:
        self.device = "cpu"
        self.errors: dict[int, str] = {}

    @property
    def best(self) -> float:
        """The raw score of a flawless item."""
        return self.raw_range[1] if self.higher_is_better else self.raw_range[0]

    @abstractmethod
    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        """Scores one item whose type and shape have been checked."""

    def score(self, item: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Scores one picture or clip.

        Args:
            item (`np.ndarray`): RGB uint8, `[H, W, 3]` or `[T, H, W, 3]`, sides at least 32.
            reference (`np.ndarray`, *optional*): the original, same shape. Ignored where none is needed.

        Returns:
            `float`: raw score in `raw_range`; `higher_is_better` says its direction.

        Raises:
            ValueError: if the item or the reference is missing, or has the wrong type or shape.
            ArithmeticError: if the score is not finite.
        """
        check_pixels(item, self.modality, "item")
        if self.needs_reference:
            if reference is None:
                raise ValueError(f"annotator {self.name!r} compares with an original: give reference=")
            check_pixels(reference, self.modality, "reference")
            if reference.shape != item.shape:
                raise ValueError(f"item {item.shape} and reference {reference.shape} must have one shape")
            if np.array_equal(item, reference):
                return self.best  # exactly: OpenCV's last bits depend on where an array lies in memory
        score = float(self._score(item, reference if self.needs_reference else None))
        if not np.isfinite(score):
            raise ArithmeticError(f"annotator {self.name!r} gave {score}")
        return score

    def score_batch(
        self, items: Sequence[np.ndarray], references: Sequence[np.ndarray | None] | None = None
    ) -> np.ndarray:
        """Scores many items; one that fails does not stop the others.

        Args:
            items (`Sequence[np.ndarray]`): as for [`score`]; sizes may differ.
            references (`Sequence[np.ndarray | None]`, *optional*): one for each item.

        Returns:
            `np.ndarray` of shape `[N]`, float64: raw scores in the order of `items`. An item that failed is NaN, and
            its reason is in `self.errors` under its index.

        Raises:
            ValueError: if `references` has another length than `items`.
        """
        if references is None:
            references = [None] * len(items)
        if len(references) != len(items):
            raise ValueError(f"{len(items)} items but {len(references)} references")
        self.errors = {}
        scores = np.full(len(items), np.nan)
        for index, (item, reference) in enumerate(zip(items, references, strict=True)):
            try:
                scores[index] = self.score(item, reference)
            except Exception as error:  # a model may fail in any way on one item; the row is kept and says why
                self.errors[index] = f"{type(error).__name__}: {error}"
                logger.warning("annotator %s failed on item %d: %s", self.name, index, self.errors[index])
        return scores


def check_pixels(pixels: np.ndarray, modality: str, what: str) -> None:
    """Raises ValueError unless `pixels` is RGB uint8 `[H, W, 3]` (image) or `[T, H, W, 3]` (video), sides >= 32."""
    layout, ndim = ("[H, W, 3]", 3) if modality == "image" else ("[T, H, W, 3]", 4)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        found = pixels.dtype if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ValueError(f"{what} must be a uint8 array {layout} in RGB, got {found}")
    if pixels.ndim != ndim or pixels.shape[-1] != 3:
        raise ValueError(f"{what} must have shape {layout} in RGB, got {pixels.shape}")
    if min(pixels.shape[-3:-1]) < MIN_SIDE:
        raise ValueError(f"{what} must be at least {MIN_SIDE} px high and wide, got shape {pixels.shape}")


def luma(image: np.ndarray) -> np.ndarray:
    """Rec. 601 luma: RGB uint8 `[H, W, 3]` -> float32 `[H, W]` in [0, 255], not rounded."""
    return linear_channels(image, ((0.299, 0.587, 0.114),))


def linear_channels(image: np.ndarray, weights: Sequence[Sequence[float]]) -> np.ndarray:
    """Mixes R, G, B: uint8 or float32 `[H, W, 3]`, weights `[C, 3]` -> float32 `[H, W, C]`, `[H, W]` for C = 1."""
    return cv2.transform(image.astype(np.float32, copy=False), np.asarray(weights, dtype=np.float32))


class ReferenceAnnotator(Annotator):
    """Base of metrics that compare a picture with its original, both shrunk by [`viewing_factor`] first."""

    needs_reference = True


def viewing_factor(image: np.ndarray) -> int:
    """Factor by which a full-reference metric shrinks a picture first.

    The metrics model a viewer who does not resolve single pixels; their authors shrink by `round(min(H, W) / 256)`,
    which is 2 for the 512 x 384 pictures the human scores are from.

    Args:
        image (`np.ndarray` of shape `[H, W, ...]`): the picture.

    Note:
        The published factor is 1 for a 256 px crop of a 512 x 384 picture, though pixels are seen at the same
        distance. With a lower bound of 2 a crop and its whole picture are scored alike.
    """
    return max(2, round(min(image.shape[:2]) / 256))


def shrink(plane: np.ndarray, factor: int) -> np.ndarray:
    """Means of `factor` x `factor` blocks; rows and columns left over at the end are cut.

    Args:
        plane (`np.ndarray` of shape `[H, W]` or `[H, W, C]`): float32 or uint8.
        factor (`int`): block side; 1 changes nothing.

    Returns:
        `np.ndarray` of shape `[H // factor, W // factor, ...]`, float32.
    """
    plane = plane.astype(np.float32, copy=False)
    if factor == 1:
        return plane
    height, width = plane.shape[0] // factor, plane.shape[1] // factor
    cut = plane[: height * factor, : width * factor]
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)


_PREWITT_SMOOTH = np.full(3, 1.0 / 3.0, dtype=np.float32)
_PREWITT_STEP = np.array([1.0, 0.0, -1.0], dtype=np.float32)


def prewitt_magnitude(plane: np.ndarray) -> np.ndarray:
    """Gradient magnitude by Prewitt operators that sum to one third a side: float32 `[H, W]` -> float32 `[H, W]`.

    Outside the picture the edge pixels are repeated.
    """
    across = cv2.sepFilter2D(plane, cv2.CV_32F, _PREWITT_STEP, _PREWITT_SMOOTH, borderType=cv2.BORDER_REPLICATE)
    down = cv2.sepFilter2D(plane, cv2.CV_32F, _PREWITT_SMOOTH, _PREWITT_STEP, borderType=cv2.BORDER_REPLICATE)
    return cv2.magnitude(across, down)


def similarity(a: np.ndarray, b: np.ndarray, constant: float) -> np.ndarray:
    """`(2 a b + c) / (a^2 + b^2 + c)` for each element: 1 where equal; above -1, and above 0 for maps of one sign."""
    return (2.0 * a * b + constant) / (a * a + b * b + constant)
