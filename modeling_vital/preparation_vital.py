"""Media in, model inputs out: the part of a processor that has nothing to do with text, and its reading ahead."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from .cutting_vital import MediaCutter, PreparedMedia
from .media_vital import MediaError


_HELD_BYTES = 2**30  # Nothing new is begun while prepared items that wait take more.
_MOST_THREADS = 8


class MediaPreparationMixin:
    """`prepare`, for a processor with an `image_processor`.

    Attributes:
        motion_size (`int`): height and width of a motion frame in pixels.
        max_tiles_per_frame (`int`): tiles of one key frame at most.
        sampling (`FrameSampling`): which frames of a clip are seen.
        single_tile_copies (`int`): how often the tile of a picture that is one tile is given out.
    """

    image_processor: Any
    motion_size: int
    max_tiles_per_frame: int
    sampling: Any
    single_tile_copies: int

    @property
    def cutter(self) -> MediaCutter:
        """`MediaCutter`: what reads and cuts an item as [`prepare`] does, and can be sent to another process."""
        return MediaCutter(
            self.image_processor.tiling,
            self.motion_size,
            self.max_tiles_per_frame,
            self.sampling,
            self.single_tile_copies,
        )

    def prepare(self, item: Any) -> PreparedMedia:
        """Reads one item and makes its tiles and motion frames.

        Args:
            item: anything `load_media` takes, or a `PreparedMedia`, which is returned as it is.

        Raises:
            MediaError: if the item cannot be read.
        """
        return self.cutter(item)

    def visual_inputs(
        self, media: list[PreparedMedia], device: Any = "cpu", dtype: torch.dtype = torch.float32
    ) -> dict[str, torch.Tensor]:
        """The encoders' inputs of a batch. They travel to the device as bytes, and are normalised there.

        Args:
            media (`list[PreparedMedia]`): at least one, pictures and clips mixed.
            device (`torch.device` or `str`, *optional*, defaults to `"cpu"`): where the inputs are wanted.
            dtype (`torch.dtype`, *optional*, defaults to float32): of the pixel values.

        Returns:
            `dict`: `pixel_values` `(num_tiles, 3, S, S)`; where there are clips, also `motion_values`
            `(num_frames, 3, M, M)` and `motion_lengths` `(num_windows,)`, int64, on the CPU, where it is read.
        """
        if torch.device(device).type == "cuda":
            return self.normalize_inputs(self.visual_bytes(media, pin_memory=True), device, dtype)
        normalize = self.image_processor.normalize  # item by item: one copy less
        pixels = {name: normalize(parts, device, dtype) for name, parts in _pixels(media).items()}
        return {**pixels, **_lengths(media)}

    def visual_bytes(self, media: list[PreparedMedia], pin_memory: bool = False) -> dict[str, torch.Tensor]:
        """Stacks what [`visual_inputs`] normalises: a quarter of the size, for another process or a device to finish.

        Args:
            media (`list[PreparedMedia]`): at least one, pictures and clips mixed.
            pin_memory (`bool`, *optional*, defaults to `False`): whether a CUDA device copies from it on its own.

        Returns:
            `dict`: as of [`visual_inputs`], but pixels are uint8, `(num_tiles, S, S, 3)` and `(num_frames, M, M, 3)`.
        """
        return {**{name: _stack(parts, pin_memory) for name, parts in _pixels(media).items()}, **_lengths(media)}

    def normalize_inputs(
        self, inputs: Mapping[str, Any], device: Any, dtype: torch.dtype = torch.float32
    ) -> dict[str, Any]:
        """Inputs with their pixels normalised on a device, where they are bytes; all else stays as it is.

        Args:
            inputs (`Mapping`): of a model; see [`visual_bytes`].
            device (`torch.device` or `str`): where the pixels are wanted.
            dtype (`torch.dtype`, *optional*, defaults to float32): of the pixel values.
        """
        pixels = {name: inputs[name] for name in ("pixel_values", "motion_values") if name in inputs}
        normalize = self.image_processor.normalize
        return {**inputs, **{k: normalize(v, device, dtype) for k, v in pixels.items() if v.dtype == torch.uint8}}


def prepare_ahead(
    cutter: MediaCutter, items: Iterable[Any], ahead: int
) -> Generator[PreparedMedia | MediaError, None, None]:
    """Prepares items in a few threads while the caller works on those before: Pillow and NumPy let others run.

    Nothing here stops a decoder that hangs or crashes; worker processes do ([`modeling_vital.reading`]).

    Args:
        cutter (`MediaCutter`): what is done with an item.
        items (`Iterable`): media items, taken one by one as there is room. One that comes twice in a row of `ahead`
            is prepared once.
        ahead (`int`): items prepared or being prepared at most, beyond the one given out; 0 uses no thread.

    Yields:
        `PreparedMedia` or `MediaError`: one an item, in their order.
    """
    if ahead < 1:
        yield from (_prepare(cutter, item) for item in items)
        return
    items = iter(items)
    pending: deque[tuple[Any, Future]] = deque()
    pool = ThreadPoolExecutor(min(_cores(), _MOST_THREADS, ahead + 1), "vital-prepare")
    try:
        while True:
            while len(pending) <= ahead and _held_bytes(pending) <= _HELD_BYTES:
                try:
                    item = next(items)
                except StopIteration:
                    break
                # A clip or a lazily read picture must not be used by two threads at once.
                twin = next((future for other, future in pending if other is item), None)
                pending.append((item, twin or pool.submit(_prepare, cutter, item)))
            if not pending:
                return
            yield pending.popleft()[1].result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(cutter: MediaCutter, item: Any) -> PreparedMedia | MediaError:
    try:
        return cutter(item)
    except MediaError as error:
        return error


def _held_bytes(pending: Iterable[tuple[Any, Future]]) -> int:
    done = (future.result() for _, future in pending if future.done() and future.exception() is None)
    return sum(media.num_bytes for media in done if not isinstance(media, MediaError))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pixels(media: list[PreparedMedia]) -> dict[str, list[np.ndarray]]:
    """The pixels of a batch item by item, by the name of the input that they become."""
    clips = [m.motion_frames for m in media if m.motion_lengths]
    return {"pixel_values": [m.tiles for m in media], **({"motion_values": clips} if clips else {})}


def _lengths(media: list[PreparedMedia]) -> dict[str, torch.Tensor]:
    """The lengths of motion windows, where there are any."""
    lengths = [n for m in media for n in m.motion_lengths]
    return {"motion_lengths": torch.tensor(lengths)} if lengths else {}


def _stack(parts: list[np.ndarray], pin_memory: bool) -> torch.Tensor:
    """Pixels of a batch as one tensor."""
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    stacked = torch.empty(shape, dtype=torch.uint8, pin_memory=pin_memory)
    np.concatenate(parts, out=stacked.numpy())
    return stacked


__all__ = ["MediaPreparationMixin", "prepare_ahead"]
