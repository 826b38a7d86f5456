"""Growth of time and memory with tiles, frames, batch and items."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cases import Settings, photos, random_model, tiny_model, use_convention
from ..timing import interleaved, peak_memory


def run(settings: Settings) -> dict[str, Any]:
    """Time over tiles with the large model, over frames, batch and items with `vital-tiny`, and memory over items."""
    model, tiny = random_model(settings.size, settings.dtype, packed=True), tiny_model()
    use_convention(model, "default")
    side = model.processor.image_processor.tile_size
    frames = np.random.default_rng(0).integers(0, 256, (128, 96, 128, 3), np.uint8)
    pictures = photos([3] * 64, 256)
    steps = 1 if settings.quick else 2
    result = {
        "tiles": series({n: lambda n=n: model.score(photos([n], side)) for n in (1, 3, 5)}, steps),
        "frames": series({n: lambda n=n: tiny.score([list(frames[:n])]) for n in (16, 64, 128)}, steps),
        "batch": series({n: lambda n=n: tiny.score(pictures[:n], batch_size=n) for n in (1, 8, 32)}, steps),
        "items": series({n: lambda n=n: tiny.score(pictures[:n]) for n in (8, 32, 64)}, steps),
    }
    counts = (4, 8) if settings.quick else (64, 1024)  # far apart: a run differs from the next by some 20 MiB
    memory = {n: peak_memory(score_items, n)["working"] for n in counts}
    result["items_memory_mib"] = {"values": memory, "slope": slope(list(memory), list(memory.values()))}
    return result


def score_items(count: int) -> Callable[[], Any]:
    """Scores so many photos with `vital-tiny`, from encoded bytes."""
    import io

    model, files = tiny_model(), []
    for picture in photos([3] * 16, 256):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG")
        files.append(buffer.getvalue())
    model.score(files[:8])  # what the first forward allocates for good is no growth
    return lambda: model.score((files * -(-count // len(files)))[:count])


def series(cases: dict[int, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Median seconds at each count, and the slope of the line through them."""
    times = interleaved(cases, rounds)
    values = {count: case["wall_s"] for count, case in times.items()}
    return {"values": values, "slope": slope(list(values), list(values.values()))}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Returns the cost of one more: the slope of the least-squares line."""
    return float(np.polyfit(x, y, 1)[0])
