"""Work of the main process for an item besides the model: processor time of it, children not counted."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from modeling_vital.cli.scoring import Item, score_items
from modeling_vital.image_processing_vital import VitalImageProcessor
from modeling_vital.processing_vital import VitalProcessor

from ..cases import EXAMPLES, Settings, tiny_model
from ..timing import guarded


BEFORE_MS = {
    "photo from a file": 65.1,
    "clip from a file": 458.2,
    "photo from memory": 33.2,
    "clip from an array": 402.3,
    "clip from a list of arrays": 823.9,
}
"""Before items were cut where they are read: two cores, busy with other work, as the numbers after it at that time
(7.4, 26.6, 19.5, 183 and 231)."""


def run(settings: Settings) -> dict[str, Any]:
    """Milliseconds an item, for photos of 7 tiles and clips of 96 frames, from files and from memory."""
    model = without_a_device(64 if settings.quick else 448)
    photo = (192, 128) if settings.quick else (1344, 896)
    size, count = ((64, 48), 4) if settings.quick else ((960, 540), 16)
    with Image.open(EXAMPLES / "mountain-path.jpg") as picture:
        source = picture.convert("RGB")
    pictures = [source.resize((photo[0] + i, photo[1])).crop((i, 0, photo[0] + i, photo[1])) for i in range(count)]
    wide = np.asarray(source.resize((size[0] + 96, size[1])))
    frames = [np.ascontiguousarray(wide[:, i : i + size[0]]) for i in range(96)]
    with tempfile.TemporaryDirectory() as folder:
        photos, clips = [f"{folder}/{i}.jpg" for i in range(count)], [f"{folder}/{i}.mp4" for i in range(count // 2)]
        for path, each in zip(photos, pictures, strict=True):
            each.save(path, quality=92)
        write_clip(clips[0], frames)
        for path in clips[1:]:
            Path(path).hardlink_to(clips[0])
        parts = {
            "photo from a file": lambda: spent(lambda: from_files(model, photos), count),
            "clip from a file": lambda: spent(lambda: from_files(model, clips), len(clips)),
            "photo from memory": lambda: spent(lambda: model.score(pictures), count),
            "clip from an array": lambda: spent(lambda: model.score([np.stack(frames)]), 1),
            "clip from a list of arrays": lambda: spent(lambda: model.score([frames]), 1),
        }
        return {"ms": guarded(parts), "before_ms": BEFORE_MS}


def without_a_device(tile_size: int) -> Any:
    """A model whose device does nothing: what is left is the work of the host, up to where it hands over bytes."""
    model = tiny_model()
    model.processor = VitalProcessor(VitalImageProcessor(tile_size=tile_size), model.processor.tokenizer)
    model.processor.motion_size = tile_size
    model.processor.image_processor.normalize = HandOver()
    model.level_logits = lambda **inputs: torch.zeros(len(inputs["input_ids"]), 5)
    return model


class HandOver:
    """Puts the pixels of a batch into one piece of memory that is kept, as pinned memory for a CUDA device is."""

    def __init__(self) -> None:
        self.kept = np.empty(0, np.uint8)

    def __call__(self, parts: list[np.ndarray], *_: Any) -> torch.Tensor:
        size = sum(part.nbytes for part in parts)
        if size > len(self.kept):
            self.kept = np.empty(size, np.uint8)
        np.concatenate(parts, out=self.kept[:size].reshape(-1, *parts[0].shape[1:]))
        return torch.zeros(sum(map(len, parts)))


def from_files(model: Any, paths: list[str]) -> None:
    """Scores files as `vital score` does, with one worker."""
    records = [
        record for batch in score_items(model, map(Item, range(len(paths)), paths), 8, 1, 120) for record in batch
    ]
    if errors := [record["error"] for _, record in records if record["error"]]:
        raise ValueError(errors[0])


def spent(work: Callable[[], Any], items: int) -> float:
    """Milliseconds of processor time of this process for an item; the first time does not count."""
    work()
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started) / items


def write_clip(path: str, frames: list[np.ndarray]) -> None:
    """Frames as H.264."""
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
