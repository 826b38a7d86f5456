"""From a picture or clip to its tiles and motion frames, as bytes: all of a processor's work that needs no torch.

What is made here is small and pickles well, so it is made where an item is read: in a worker process, or a thread.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from .media_error_vital import MediaError, describe_item, item_errors
from .media_vital import Clip, load_media
from .video_processing_vital import FrameSampling, sample_frames


TILE_RULES = ("native", "aspect_ratio", "area")

# The one (columns, rows) the released code uses for a tile count, whatever the picture's shape. It depends on the
# largest count allowed: the code keeps the last of the equal-sized grids in the iteration order of a Python set, and
# that order changes when the set grows.
_AREA_GRIDS_UP_TO_7 = ((1, 1), (2, 1), (1, 3), (2, 2), (5, 1), (3, 2), (1, 7))
_AREA_GRIDS_UP_TO_12 = (
    *((1, 1), (2, 1), (1, 3), (1, 4), (1, 5), (2, 3)),
    *((1, 7), (8, 1), (9, 1), (1, 10), (1, 11), (2, 6)),
)


def choose_grid(
    width: int, height: int, tile_size: int = 448, min_tiles: int = 1, max_tiles: int = 12, rule: str = "native"
) -> tuple[int, int]:
    """Chooses into how many columns and rows of square tiles a picture is cut, after a resize to fill them.

    Args:
        width (`int`): picture width, pixels.
        height (`int`): picture height, pixels.
        tile_size (`int`, defaults to 448): side of a tile, pixels.
        min_tiles (`int`, defaults to 1): fewest tiles.
        max_tiles (`int`, defaults to 12): most tiles, the thumbnail not counted.
        rule (`str`, defaults to `"native"`):
            - `"native"`: as near as possible to the picture's own aspect ratio and scale. Of all allowed grids, the
              one with the least `log(sx / sy)**2 + log(sqrt(sx * sy))**2`, where `sx` and `sy` are the stretches the
              resize causes, measured against the picture first scaled down (if it must be) to `max_tiles` tiles of
              area. Ties go to fewer tiles.
            - `"aspect_ratio"`: InternVL's: the nearest `columns / rows` to `width / height`; of equally near ones the
              largest whose area is under twice the picture's.
            - `"area"`: the released VITAL's: as many tiles as fit the picture's area (rounded half up), in the one
              grid it has for that count. The aspect ratio plays no part: 1024x768 and 768x1024 both become 1x4 tiles.

    Returns:
        `tuple[int, int]`: columns and rows.

    Raises:
        ValueError: if a size is not positive, `min_tiles > max_tiles`, the rule is unknown, or `"area"` is asked for
            more than 12 tiles (the released code has no grid for that that does not depend on the Python version).
    """
    if width < 1 or height < 1 or tile_size < 1:
        raise ValueError(f"Sizes must be positive, got a picture of {width}x{height} and tile_size {tile_size}.")
    if not 1 <= min_tiles <= max_tiles:
        raise ValueError(f"Need 1 <= min_tiles <= max_tiles, got min_tiles={min_tiles} and max_tiles={max_tiles}.")
    if rule == "area":
        return _area_grid(width * height / tile_size**2, min_tiles, max_tiles)
    grids = [
        (cols, rows)
        for cols in range(1, max_tiles + 1)
        for rows in range(1, max_tiles // cols + 1)
        if cols * rows >= min_tiles
    ]
    grids.sort(key=lambda grid: (grid[0] * grid[1], grid))
    if rule == "aspect_ratio":
        return _aspect_ratio_grid(width, height, tile_size, grids)
    if rule != "native":
        raise ValueError(f"Unknown tile rule {rule!r}; choose one of {', '.join(TILE_RULES)}.")
    shrink = min(1.0, math.sqrt(max_tiles * tile_size**2 / (width * height)))

    def cost(grid: tuple[int, int]) -> float:
        stretch_x = math.log(grid[0] * tile_size / (width * shrink))
        stretch_y = math.log(grid[1] * tile_size / (height * shrink))
        # Rounded so that mirrored grids tie exactly and the sort order decides.
        return round((stretch_x - stretch_y) ** 2 + ((stretch_x + stretch_y) / 2) ** 2, 9)

    return min(grids, key=cost)


def _area_grid(tiles: float, min_tiles: int, max_tiles: int) -> tuple[int, int]:
    if max_tiles > len(_AREA_GRIDS_UP_TO_12):
        raise ValueError(
            f"The tile rule 'area' is defined up to max_tiles=12, got {max_tiles}; use the rule 'native'."
        )
    table = _AREA_GRIDS_UP_TO_7 if max_tiles <= 7 else _AREA_GRIDS_UP_TO_12
    count = math.floor(tiles + 0.5)
    return table[min(max(count, min_tiles), max_tiles) - 1]


def _aspect_ratio_grid(width: int, height: int, tile_size: int, grids: list[tuple[int, int]]) -> tuple[int, int]:
    best, best_difference = grids[0], math.inf
    for cols, rows in grids:
        difference = abs(width / height - cols / rows)
        tie = difference == best_difference and width * height > 0.5 * tile_size**2 * cols * rows
        if difference < best_difference or tie:
            best, best_difference = (cols, rows), difference
    return best


@dataclass(frozen=True)
class Tiling:
    """Cuts pictures into square tiles; see [`VitalImageProcessor`] for the settings.

    Args:
        tile_size (`int`, defaults to 448): side of a tile, pixels.
        min_tiles (`int`, defaults to 1): fewest tiles a picture.
        max_tiles (`int`, defaults to 12): most tiles a picture, the thumbnail not counted.
        tile_rule (`str`, defaults to `"native"`): see [`choose_grid`].
        use_thumbnail (`bool`, defaults to `True`): whether the whole picture follows as a last tile.
        resample (`int`, defaults to 3): Pillow resampling filter.
    """

    tile_size: int = 448
    min_tiles: int = 1
    max_tiles: int = 12
    tile_rule: str = "native"
    use_thumbnail: bool = True
    resample: int = Image.Resampling.BICUBIC.value

    def grid(self, width: int, height: int, max_tiles: int) -> tuple[int, int]:
        """Columns and rows of a picture of this size, with another limit."""
        return choose_grid(width, height, self.tile_size, min(self.min_tiles, max_tiles), max_tiles, self.tile_rule)

    def cut(self, picture: Image.Image, max_tiles: int | None = None, use_thumbnail: bool | None = None) -> np.ndarray:
        """Cuts one RGB picture.

        Args:
            picture (`PIL.Image.Image`): in mode RGB.
            max_tiles (`int`, *optional*): in place of the tiling's own.
            use_thumbnail (`bool`, *optional*): in place of the tiling's own.

        Returns:
            `np.ndarray`: uint8 `[tiles, S, S, 3]`, row by row, the thumbnail last.
        """
        side = self.tile_size
        cols, rows = self.grid(*picture.size, self.max_tiles if max_tiles is None else max_tiles)
        resized = self.squash(picture, cols * side, rows * side)
        tiles = resized.reshape(rows, side, cols, side, 3).swapaxes(1, 2).reshape(rows * cols, side, side, 3)
        if (self.use_thumbnail if use_thumbnail is None else use_thumbnail) and len(tiles) > 1:
            tiles = np.concatenate([tiles, self.squash(picture, side, side)[None]])
        return tiles

    def squash(self, picture: Image.Image, width: int, height: int) -> np.ndarray:
        """The whole picture at another size, uint8 `[height, width, 3]`."""
        same = picture.size == (width, height)
        return np.asarray(picture if same else picture.resize((width, height), self.resample))


@dataclass
class PreparedMedia:
    """One picture or clip as a model sees it, not yet normalised: [`MediaPreparationMixin.visual_inputs`] does that.

    Attributes:
        modality (`str`): `"image"` or `"video"`.
        tiles (`np.ndarray` of shape `(num_tiles, tile_size, tile_size, 3)`): uint8, RGB; tiles of the picture, or of
            all key frames in order.
        num_tiles (`list[int]`): tiles of the picture (one entry), or of each key frame.
        motion_frames (`np.ndarray` of shape `(num_frames, motion_size, motion_size, 3)`): uint8; none for pictures.
        motion_lengths (`list[int]`): frames of each motion window; empty for pictures.
        name (`str`): what messages call it.
        video_backend (`str`, *optional*): what decoded it, where it is a clip from a file; see [`Clip`].
    """

    modality: str
    tiles: np.ndarray
    num_tiles: list[int]
    motion_frames: np.ndarray
    motion_lengths: list[int]
    name: str = "An item"
    video_backend: str | None = None

    @property
    def num_bytes(self) -> int:
        """`int`: bytes of its tiles and frames."""
        return self.tiles.nbytes + self.motion_frames.nbytes


@dataclass(frozen=True)
class MediaCutter:
    """Reads items and cuts them for one processor. Pickles, and needs no torch: it is what a worker process is sent.

    Args:
        tiling (`Tiling`): of pictures, and of key frames without thumbnails.
        motion_size (`int`): height and width of a motion frame, pixels.
        max_tiles_per_frame (`int`): tiles of one key frame at most.
        sampling (`FrameSampling`): which frames of a clip are seen; no others are decoded.
        single_tile_copies (`int`): how often the tile of a picture that is one tile is given out.
    """

    tiling: Tiling = field(default_factory=Tiling)
    motion_size: int = 448
    max_tiles_per_frame: int = 1
    sampling: FrameSampling = field(default_factory=FrameSampling)
    single_tile_copies: int = 1

    def __call__(self, item: Any, allow_url: bool = False) -> PreparedMedia:
        """Reads one item and cuts it: it is loaded and converted once.

        Args:
            item: anything [`load_media`] takes, or a `PreparedMedia`, which is returned as it is.
            allow_url (`bool`, defaults to `False`): whether a string may be an http(s) address to download.

        Raises:
            MediaError: if the item cannot be read, or is a clip too short for `sampling`.
        """
        if hasattr(item, "motion_lengths"):  # A PreparedMedia, perhaps of another copy of this module.
            return item
        with item_errors(item):
            media = load_media(item, allow_url=allow_url)
            return self._picture(media, item) if isinstance(media, Image.Image) else self._clip(media)

    def _picture(self, picture: Image.Image, item: Any) -> PreparedMedia:
        tiles = self.tiling.cut(picture)
        if len(tiles) == 1:
            tiles = tiles.repeat(self.single_tile_copies, axis=0)
        no_motion = np.empty((0, self.motion_size, self.motion_size, 3), np.uint8)
        return PreparedMedia("image", tiles, [len(tiles)], no_motion, [], describe_item(item))

    def _clip(self, clip: Clip) -> PreparedMedia:
        try:
            choice = sample_frames(clip.num_frames, clip.fps, self.sampling)
        except ValueError as error:
            raise MediaError(f"{clip.name}: {error}") from error
        keys, run = choice.key_frames.tolist(), choice.motion_frames.tolist()
        seen_by_images, seen_by_motion = set(keys), set(run)
        side, tiles, squares = self.motion_size, [], {}
        wanted = sorted(seen_by_images | seen_by_motion)
        # Frame by frame: what is held is the small frames, and one large one.
        for index, frame in zip(wanted, clip.iter_frames(wanted), strict=True):
            picture = Image.fromarray(frame)
            if index in seen_by_motion:
                squares[index] = self.tiling.squash(picture, side, side)
            if index in seen_by_images:
                shared = index in squares and side == self.tiling.tile_size and self.max_tiles_per_frame == 1
                tiles.append(
                    squares[index][None] if shared else self.tiling.cut(picture, self.max_tiles_per_frame, False)
                )
        return PreparedMedia(
            "video",
            np.concatenate(tiles),
            [len(stack) for stack in tiles],
            np.stack([squares[index] for index in run]),
            [len(window) for window in choice.motion_windows],
            clip.name,
            getattr(clip, "video_backend", None),  # A clip of another copy of this module may not say.
        )


__all__ = ["TILE_RULES", "MediaCutter", "PreparedMedia", "Tiling", "choose_grid"]
