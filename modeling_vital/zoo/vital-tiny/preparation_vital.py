"""Media in, tiles and motion frames out: the part of a processor that has nothing to do with text."""

from dataclasses import dataclass

import torch
from PIL import Image

from .media_vital import Clip, MediaError, load_media
from .video_processing_vital import sample_frames


@dataclass
class PreparedMedia:
    """One picture or clip, ready for the encoders.

    Attributes:
        modality (`str`): `"image"` or `"video"`.
        pixel_values (`torch.FloatTensor` of shape `(num_tiles, 3, tile_size, tile_size)`): tiles of the picture, or of
            all key frames in order.
        num_tiles (`list[int]`): tiles of the picture (one entry), or of each key frame.
        motion_values (`torch.FloatTensor` of shape `(num_frames, 3, motion_size, motion_size)`): empty for pictures.
        motion_lengths (`list[int]`): frames of each motion window; empty for pictures.
    """

    modality: str
    pixel_values: torch.Tensor
    num_tiles: list[int]
    motion_values: torch.Tensor
    motion_lengths: list[int]


class MediaPreparationMixin:
    """`prepare`, for a processor with an `image_processor`.

    Attributes:
        motion_size (`int`): height and width of a motion frame in pixels.
        max_tiles_per_frame (`int`): tiles of one key frame at most.
        sampling (`FrameSampling`): which frames of a clip are seen.
        single_tile_copies (`int`): how often the tile of a picture that is one tile is given out.
    """

    single_tile_copies = 1

    def prepare(self, item) -> PreparedMedia:
        """Reads one item and makes its tiles and motion frames.

        Args:
            item: anything `load_media` takes, or a `PreparedMedia`, which is returned as it is.

        Raises:
            MediaError: if the item cannot be read.
        """
        if isinstance(item, PreparedMedia):
            return item
        media = load_media(item)
        if isinstance(media, Image.Image):
            tiles = self.image_processor.preprocess([media])["pixel_values"]
            if len(tiles) == 1:
                tiles = tiles.repeat(self.single_tile_copies, 1, 1, 1)
            no_motion = torch.zeros(0, 3, self.motion_size, self.motion_size)
            return PreparedMedia("image", tiles, [len(tiles)], no_motion, [])
        return self._prepare_clip(media)

    def _prepare_clip(self, clip: Clip) -> PreparedMedia:
        try:
            choice = sample_frames(clip.num_frames, clip.fps, self.sampling)
        except ValueError as error:
            raise MediaError(f"{clip.name}: {error}") from error
        wanted = sorted({*choice.key_frames.tolist(), *choice.motion_frames.tolist()})
        frames = dict(zip(wanted, clip.get_frames(wanted), strict=True))  # every frame is decoded once
        tiles = self.image_processor.preprocess_frames(
            [frames[i] for i in choice.key_frames], max_tiles=self.max_tiles_per_frame
        )
        motion_values = self.image_processor.resize_frames(
            [frames[i] for i in choice.motion_frames], size=self.motion_size
        )
        return PreparedMedia(
            "video",
            tiles["pixel_values"],
            tiles["num_tiles"].tolist(),
            motion_values,
            [len(window) for window in choice.motion_windows],
        )


__all__ = ["MediaPreparationMixin", "PreparedMedia"]
