"""Scoring: throughput and memory against transformers' InternVL and the released procedure, same weights."""

from collections.abc import Callable
from typing import Any

import torch

from ..cases import Settings, clip, native_model, photos, random_model, tiny_model, use_convention
from ..plain import PlainInternVL
from ..released import ReleasedProcedure
from ..timing import interleaved, peak_memory, ratio
from .peak_share import count_flops


MIXED = [1, 1, 1, 1, 1, 1, 3, 5]  # tiles of a batch of eight photos: mostly small ones, as in most folders
WAYS = ("ours", "ours, released conventions", "plain transformers", "released procedure")


def run(settings: Settings) -> dict[str, Any]:
    """Times every way on one photo, eight photos and a clip, and `vital-tiny` over batch sizes."""
    works = {"one photo": ([1], 3), "eight photos": (MIXED, 1), "clip": (None, 2)}
    result: dict[str, Any] = {"dtype": str(settings.dtype), "size": settings.size, "mixed_tiles": MIXED}
    for name, (tiles, rounds) in works.items():
        cases = way_works(settings, tiles)
        times = interleaved(cases, settings.rounds(rounds), warm_up=name == "one photo")
        compared = [way for way in cases if way != "ours"]
        result[name] = {
            "times": times,
            "over_ours": {way: ratio(times, way, "ours") for way in compared},
            "over_ours_cpu": {way: ratio(times, way, "ours", "cpu") for way in compared},
            "over_same_scores": ratio(times, "released procedure", "ours, released conventions"),
        }
    for name, (tiles, _) in works.items():  # afterwards: it needs the other of the two models
        result[name]["gflop"] = arithmetic(settings, tiles)
    result["memory_mib"] = memory(settings)
    result["vital-tiny"] = tiny_throughput(settings)
    return result


def way_works(settings: Settings, tiles: list[int] | None) -> dict[str, Callable[[], Any]]:
    """The work of every way, by its name.

    Args:
        settings (`Settings`): size and dtype of the model.
        tiles (`list[int]`, *optional*): of each photo; without, the work is one clip, which InternVL cannot score.
    """
    ways = [way for way in WAYS if tiles or way != "plain transformers"]
    return {way: way_work(way, settings, tiles) for way in ways}


def way_work(way: str, settings: Settings, tiles: list[int] | None, packed: bool = True) -> Callable[[], list]:
    """The work of one way: scores photos or a clip, from decoded pictures or the clip's file; ours packed or not."""
    packed = packed and settings.device == "cpu" and way.startswith("ours")
    model = random_model(settings.size, settings.dtype, packed=packed, device=settings.device)
    side = model.processor.image_processor.tile_size
    items = photos(tiles, side) if tiles else [clip(settings.size)]
    convention = "default" if way in ("ours", "plain transformers") else "released"
    if way == "plain transformers":
        values = model.config.level_values
        score = PlainInternVL(native_model(model), model.processor, model.config.level_words, values).score
    elif way == "released procedure":
        score = ReleasedProcedure(model).score
    else:
        score = model.score

    def work() -> list:
        use_convention(model, convention)
        return score(items)

    return work


def arithmetic(settings: Settings, tiles: list[int] | None) -> dict[str, float]:
    """Counts what each way has to compute, in GFLOP, whatever it takes for it."""
    with torch.no_grad():
        return {
            way: count_flops(way_work(way, settings, tiles, packed=False)) / 1e9
            for way in WAYS
            if way != "plain transformers"
        }


def memory(settings: Settings) -> dict[str, dict[str, dict[str, float]]]:
    """Peak memory of each way, each in a process of its own."""
    wanted: dict[str, tuple] = {"one photo": ([1], ("ours", "released procedure"))}
    if not settings.quick:  # a process each
        wanted = {
            "one photo": ([1], WAYS),
            "eight photos": (MIXED, ("ours", "plain transformers", "released procedure")),
            "clip": (None, ("ours", "released procedure")),
        }
    return {
        name: {way: peak_memory(way_work, way, settings, tiles) for way in ways}
        for name, (tiles, ways) in wanted.items()
    }


def tiny_throughput(settings: Settings) -> dict[str, dict]:
    """Photos a second of `vital-tiny` over batch sizes, and of the released procedure with its weights."""
    model = tiny_model()
    pictures = photos([1, 3, 5, 1] * (1 if settings.quick else 8), 256)
    released = ReleasedProcedure(model)
    cases: dict[str, Callable[[], Any]] = {
        f"batch {size}": lambda size=size: model.score(pictures, batch_size=size) for size in (1, 8, 32)
    }
    cases["released procedure"] = lambda: released.score(pictures)
    times = interleaved(cases, settings.rounds(2))
    return {
        name: {
            "photos_per_s": len(pictures) / case["wall_s"],
            "over_released": ratio(times, "released procedure", name),
        }
        for name, case in times.items()
    }
