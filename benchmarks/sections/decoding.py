"""Decoding and preprocessing alone, a backend at a time, and how much of scoring the model is at work."""

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modeling_vital.media_vital import load_media
from modeling_vital.video_processing_vital import sample_frames

from ..cases import EXAMPLES, Settings, clip, photos, random_model, tiny_model, use_convention
from ..timing import interleaved, ratio


BACKENDS = ("decord", "av")


def run(settings: Settings) -> dict[str, Any]:
    """Times preprocessing of photos and of a clip, and the model's share of scoring files."""
    model = random_model(settings.size, settings.dtype, packed=True)
    use_convention(model, "default")
    paths = sorted(EXAMPLES.glob("*.jpg"))[: 2 if settings.quick else 6]
    times = interleaved({path.name: lambda path=path: model.processor.prepare(path) for path in paths}, 3)
    sizes = {path.name: load_media(path).size for path in paths}
    result: dict[str, Any] = {
        "photo_preparation": {
            name: {"ms": 1000 * case["wall_s"], "megapixels": sizes[name][0] * sizes[name][1] / 1e6}
            for name, case in times.items()
        },
        "clip_decoding": clip_decoding(settings),
    }
    with tempfile.TemporaryDirectory() as folder:
        tiles = [1, 3] if settings.size == "1b" else [1, 3, 5, 1]
        files = write_photos(Path(folder), tiles, model.processor.image_processor.tile_size)
        result[f"busy_{settings.size}"] = busy_share(model, files, settings.rounds(2))
        many = write_photos(Path(folder), [1, 3, 5, 1] * (1 if settings.quick else 25), 256)
        result["busy_tiny"] = busy_share(tiny_model(), many, settings.rounds(3))
    return result


def clip_decoding(settings: Settings) -> dict[str, dict[str, float]]:
    """Milliseconds to open a clip and decode the frames that scoring looks at, and all of them, by backend."""
    path = str(clip("1b"))
    result = {}
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            continue
        with only_backend(backend):
            video = load_media(path)
            choice = sample_frames(video.num_frames, video.fps)
            chosen = sorted({*choice.key_frames.tolist(), *choice.motion_frames.tolist()})
            cases: dict[str, Callable[[], Any]] = {
                "open": lambda: load_media(path),
                "chosen": lambda chosen=chosen: load_media(path).get_frames(chosen),
                "every": lambda: (media := load_media(path)).get_frames(range(media.num_frames)),
            }
            times = interleaved(cases, settings.rounds(3))
        result[backend] = {f"{name}_ms": 1000 * case["wall_s"] for name, case in times.items()}
        result[backend] |= {"frames": video.num_frames, "chosen": len(chosen)}
        result[backend]["every_over_chosen"] = ratio(times, "every", "chosen")
    return result


@contextmanager
def only_backend(name: str) -> Iterator[None]:
    """Makes the other video decoders look as if they were not installed."""
    hidden = {other: sys.modules.get(other) for other in BACKENDS if other != name}
    try:
        sys.modules.update(dict.fromkeys(hidden))  # `None` there makes `import` fail
        yield
    finally:
        for other, module in hidden.items():
            del sys.modules[other]
            if module is not None:
                sys.modules[other] = module


def write_photos(folder: Path, tiles: list[int], side: int) -> list[str]:
    """Photos of so many tiles as JPEG files."""
    paths = []
    for number, picture in enumerate(photos(tiles, side)):
        paths.append(str(folder / f"{side}-{number}.jpg"))
        picture.save(paths[-1], quality=92)
    return paths


def busy_share(model: Any, files: list[str], rounds: int) -> dict[str, float]:
    """Returns the share of `score`'s time from files that the model alone would take, at most 1.

    Args:
        model (`VitalForConditionalGeneration`): what scores.
        files (`list[str]`): photos.
        rounds (`int`): of each.
    """
    prepared = [model.processor.prepare(file) for file in files]
    times = interleaved({"files": lambda: model.score(files), "model": lambda: model.score(prepared)}, rounds)
    share = min(1.0, 1 / ratio(times, "files", "model"))
    return {"share": share, "photos": len(files), "photos_per_s": len(files) / times["files"]["wall_s"]}
