"""Parts of `python -m benchmarks.gpu`. Every function runs on the CPU too, at toy size."""

import gc
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from modeling_vital.cli.scoring import Item, score_items
from modeling_vital.reading import default_workers, usable_cores
from modeling_vital.whole_files import whole_file
from training.collators import MODEL_INPUTS, VitalCollator
from training.freezing import freeze, set_training_mode
from training.losses import LossConfig, MultiTaskLoss

from .cases import EXAMPLES, Settings, photos, random_model, tiny_model, use_convention
from .machine import describe
from .parts import NotReached
from .sections.peak_share import count_flops
from .sections.preparation import write_clip
from .sections.scoring import MIXED, way_works
from .timing import interleaved, timed


ROOT = Path(__file__).resolve().parent.parent
GIB = 2**30
SECONDS = 1.5  # a measurement takes about so long


def machine(toy: bool) -> dict[str, Any]:
    """Describes the machine, with the rate of the largest matrix products, which shares are of."""
    about: dict[str, Any] = describe()
    if not toy:
        about["gpu_memory_gib"] = torch.cuda.get_device_properties(0).total_memory / GIB
        about["cuda"] = torch.version.cuda
    return {**about, "usable_cores": usable_cores(), "product_tflops": product_flops(toy) / 1e12}


def run_tests(toy: bool, limit_s: float) -> dict[str, Any]:
    """The tests marked `gpu`: how many passed.

    Raises:
        NotReached: without pytest.
        RuntimeError: one failed, or they took too long; stderr gets what pytest says.
    """
    if importlib.util.find_spec("pytest") is None:
        raise NotReached("pytest is not there")
    files = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "tests").rglob("test_*.py")) if _is_gpu_test(p)]
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-v",
                "--tb=short",
                "-rfEs",
                "-p",
                "no:cacheprovider",
                "-m",
                "gpu",
                *files,
            ],
            cwd=ROOT,
            env={**os.environ, **({"VITAL_GPU_TESTS_ON": "cpu"} if toy else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout if isinstance(error.stdout, str) else (error.stdout or b"").decode(errors="replace")
        sys.stderr.write(output)
        last = (output.strip().splitlines() or ["no output"])[-1]
        raise RuntimeError(f"the tests took more than {limit_s:g} s, the last line is: {last}") from None
    lines = done.stdout.strip().splitlines() or ["no output"]
    told = [line for line in lines if line.startswith(("FAILED ", "ERROR ", "SKIPPED "))]
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise RuntimeError(" | ".join([lines[-1].strip("= "), *told]))
    skipped = {"skipped": "; ".join(told)} if told else {}
    return {"summary": lines[-1].strip("= "), **skipped}


@torch.no_grad()
def scoring(toy: bool, folder: str, size: str, kind: str) -> dict[str, Any]:
    """Items a second of one kind, by the model alone, from memory and from files.

    Args:
        toy (`bool`): on the CPU, at toy size.
        folder (`str`): where the files are, or are put.
        size (`str`): `"tiny"`, `"1b"` or `"8b"`.
        kind (`str`): `"1 tile"`, `"7 tiles"` or `"clip"`.

    Returns:
        `dict`: `items_per_s` by source (from files without the start of the workers, and with it), shares of the
        model alone, `tiles` of an item, `peak_gib` of the device.
    """
    model = load(size, toy)
    items = media(toy, model, kind)
    prepared = [model.processor.prepare(item) for item in items]
    batch_size = "auto" if model.device.type == "cuda" else 2
    least, most = (2, 4) if toy else (8, 64) if kind == "clip" else (64, 512)

    def model_only(count: int) -> float:
        batches = model.batch_limit(batch_size).batches(islice(cycle(prepared), count))
        return timed(lambda: list(model.score_batches(batches)))[0]

    def from_memory(count: int) -> float:
        return timed(lambda: model.score(list(islice(cycle(items), count)), batch_size=batch_size))[0]

    forget_peak(model.device)
    model_only(least)  # kernels are chosen, memory is taken
    result: dict[str, Any] = {"tiles": len(prepared[0].tiles), "items_per_s": {}}
    speeds = result["items_per_s"]
    speeds["model only"], _ = speed(model_only, least, most)
    speeds["from memory"], _ = speed(from_memory, least, most)
    result["peak_gib"] = peak_gib(model.device)
    try:
        paths = files(folder, items, kind, model.config.get_text_config().hidden_size)
        wanted = 0 if toy else round(3 * SECONDS * speeds["model only"])
        found = from_files(model, paths, wanted, 2 if toy else 8 if kind == "clip" else 32, 1 if toy else None)
        speeds["from files"], speeds["from files, start included"] = found
    except NotReached as error:  # the rest stands
        result["from files"] = f"not reached: {error}"
    result["share_of_model"] = {name: value / speeds["model only"] for name, value in speeds.items()}
    return result


@torch.no_grad()
def encoder(toy: bool, size: str) -> dict[str, Any]:
    """Tiles a second of the image encoder and projector, and the share of the largest products' rate."""
    model = load(size, toy)
    side = model.config.vision_config.image_size[0]
    peak, result = product_flops(toy), {"tiles_per_s": {}, "share_of_products": {}}
    gflop = count_flops(lambda: model.model.encode_tiles(tiles(model, side, 1)))
    result["gflop_a_tile"] = gflop / 1e9
    forget_peak(model.device)
    for count in (1, 2) if toy else (8, 64):
        pixels = tiles(model, side, count)
        rate = count / best(lambda pixels=pixels: model.model.encode_tiles(pixels), model.device)
        result["tiles_per_s"][f"{count} at once"] = rate
        result["share_of_products"][f"{count} at once"] = rate * gflop / peak
    return {**result, "product_tflops": peak / 1e12, "peak_gib": peak_gib(model.device)}


def peers(toy: bool, kind: str) -> dict[str, Any]:
    """Ours beside plain transformers and the released procedure, with the same random weights of 1B."""
    settings = Settings(quick=toy, device="cpu" if toy else "cuda")
    if kind == "clip" and not toy:
        need_decoder()
    works = way_works(settings, {"one photo": [1], "eight photos": MIXED, "clip": None}[kind])
    result: dict[str, Any] = {"items_per_s": {}, "peak_gib": {}}
    count = len(MIXED) if kind == "eight photos" else 1
    device = torch.device(settings.device)
    for name, work in works.items():
        work()
        forget_peak(device)
        work()
        result["peak_gib"][name] = peak_gib(device)
    for name, case in interleaved(works, settings.rounds(3), warm_up=False).items():
        result["items_per_s"][name] = count / case["wall_s"]
    return result


def training(toy: bool, size: str, stage: str, checkpointing: bool) -> dict[str, Any]:
    """Samples a second and memory of training steps on photos of several tiles, batches collated beforehand.

    Not through `VitalTrainer`, whose TRL and datasets are more than a bare machine has: its collator, loss, frozen
    parts and AdamW, with weights and the optimiser's state in the model's dtype.

    Args:
        toy (`bool`): on the CPU, at toy size.
        size (`str`): `"1b"` or `"8b"`.
        stage (`str`): `"pretrain"` or `"warm_up"`.
        checkpointing (`bool`): whether activations are computed again instead of kept.
    """
    load.cache_clear()
    random_model.cache_clear()
    gc.collect()
    settings = Settings(quick=toy, device="cpu" if toy else "cuda")
    if settings.device == "cuda":
        torch.cuda.empty_cache()
    model = build(size, toy)
    freeze(model, stage)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    set_training_mode(model)
    batch_size, count = (2, 3) if toy else (4, 7)
    pictures = photos([1 if toy else count] * batch_size, model.config.vision_config.image_size[0])
    rows = [scoring_row(i, picture) for i, picture in enumerate(pictures)]
    collate = VitalCollator(model.processor, {"scoring": rows}, level_words=model.config.level_words)
    collate_s, batch = timed_result(lambda: collate([{"table": "scoring", "row": i} for i in range(batch_size)]))
    batch = model.processor.normalize_inputs(on_device(batch, settings.device), settings.device)
    item_loss = MultiTaskLoss(collate.level_ids, LossConfig())
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, fused=settings.device == "cuda")
    answer = batch["targets"]["answer_length"]
    targets = {name: batch["targets"][name] for name in batch["targets"]}
    for name in ("labels", "level_mask"):
        targets[name] = targets[name][:, -answer:]

    def step() -> None:
        inputs = {name: batch[name] for name in MODEL_INPUTS if name in batch}
        logits = model(**inputs, use_cache=False, logits_to_keep=answer + 1).logits[:, :-1]
        losses, _ = item_loss(logits, targets)
        losses.mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    device = torch.device(settings.device)
    step()  # makes the optimiser's state
    forget_peak(device)
    seconds = best(step, device, 1 if toy else 3)
    return {
        "samples_per_s": batch_size / seconds,
        "peak_gib": peak_gib(device),
        "learned_parameters": sum(p.numel() for p in learned),
        "tokens_a_row": batch["input_ids"].shape[1],
        "collating_ms_a_sample": 1000 * collate_s / batch_size,
    }


# ------------------------------------------------------------------------------------------------------------- models
@lru_cache(maxsize=1)
def load(size: str, toy: bool) -> Any:
    """The model of a size, made on the device, in the conventions of our own checkpoints; one is kept."""
    random_model.cache_clear()
    gc.collect()
    return build(size, toy)


def build(size: str, toy: bool) -> Any:
    """See [`load`]; `"tiny"` has its own weights, in float32."""
    device = "cpu" if toy else "cuda"
    if size == "tiny":
        return tiny_model().to(device)
    settings = Settings(quick=toy, device=device)
    model = random_model("toy" if toy else size, settings.dtype, packed=False, device=device)
    use_convention(model, "default")
    return model


# -------------------------------------------------------------------------------------------------------------- media
def media(toy: bool, model: Any, kind: str) -> list[Any]:
    """Different pictures or clips of one kind, in memory."""
    if kind != "clip":
        side = model.processor.image_processor.tile_size
        return photos([int(kind.split()[0])] * (2 if toy else 8), side)
    (width, height), count = ((64, 48), 12) if toy else ((960, 540), 96)
    with Image.open(EXAMPLES / "mountain-path.jpg") as picture:
        wide = np.asarray(picture.convert("RGB").resize((width + count, height)))
    frames = np.stack([wide[:, i : i + width] for i in range(count)])
    return [frames, frames[::-1].copy()]


def files(folder: str, items: list[Any], kind: str, key: int) -> list[str]:
    """The same as JPEGs or MP4s, written unless they are there.

    Raises:
        NotReached: clips cannot be written or read here.
    """
    ending = "mp4" if kind == "clip" else "jpg"
    if kind == "clip":
        need_decoder()
    paths = [Path(folder) / f"{kind.replace(' ', '-')}-{key}-{i}.{ending}" for i in range(len(items))]
    for path, item in zip(paths, items, strict=True):
        if path.exists():
            continue
        with whole_file(path) as unfinished:
            if kind == "clip":
                encode(unfinished, item)
            else:
                item.save(unfinished, quality=92)
    return [str(path) for path in paths]


def encode(path: Path, frames: np.ndarray) -> None:
    """Frames as an MP4, by PyAV or else OpenCV."""
    if importlib.util.find_spec("av"):
        write_clip(str(path), list(frames))
        return
    if not importlib.util.find_spec("cv2"):
        raise NotReached("no encoder of clips: PyAV or OpenCV")
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, frames.shape[2:0:-1])
    if not writer.isOpened():
        raise NotReached("no encoder of clips: this OpenCV writes no MP4")
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


def need_decoder() -> None:
    """Raises NotReached where clips cannot be read."""
    if not any(importlib.util.find_spec(name) for name in ("decord", "av")):
        raise NotReached("no decoder of clips: decord or PyAV")


def scoring_row(number: int, picture: Image.Image) -> dict[str, Any]:
    """A picture as a row of the scoring table."""
    return {
        "id": f"photo-{number}",
        "modality": "image",
        "images": [{"bytes": None, "path": None, "pixels": np.asarray(picture)}],
        "videos": [],
        "messages": [
            {"role": "user", "content": [{"type": "image", "text": None}]},
            {"role": "assistant", "content": [{"type": "text", "text": "good"}]},
        ],
        "mos": 0.7,
        "level_probs": [0.2, 0.5, 0.2, 0.1, 0.0],
    }


# --------------------------------------------------------------------------------------------------------- measuring
def from_files(model: Any, paths: list[str], wanted: int, batch_size: int, workers: int | None) -> tuple[float, float]:
    """Items a second as `vital score` reads and scores them.

    Args:
        model: with a processor.
        paths (`list[str]`): files, read again and again.
        wanted (`int`): items to read, besides those that are there when the first batch is scored: what workers read
            while nothing was scored says nothing of how fast they read.
        batch_size (`int`): items a forward pass.
        workers (`int`, *optional*): as of `vital score`.

    Returns:
        `tuple[float, float]`: behind those first items, and over all with the start of the workers.

    Raises:
        RuntimeError: an item could not be scored.
    """
    ahead = max(2 * (default_workers() if workers is None else workers), batch_size) + 2 * batch_size
    begun, marks, done = time.perf_counter(), [], 0
    items = map(Item, range(ahead + max(wanted, 2 * batch_size)), cycle(paths))
    for batch in score_items(model, items, batch_size, workers, 60):
        if errors := [record["error"] for _, record in batch if record["error"]]:
            raise RuntimeError(errors[0])
        done += len(batch)
        marks.append((time.perf_counter(), done))
    (first_at, first), (last_at, last) = next(mark for mark in marks if mark[1] >= ahead), marks[-1]
    return (last - first) / (last_at - first_at), last / (last_at - begun)


def speed(work: Callable[[int], float], least: int, most: int) -> tuple[float, int]:
    """Items a second, over as many items as take about `SECONDS`, and their number.

    Args:
        work (`Callable`): handles so many items and returns the seconds it took.
        least, most (`int`): items.
    """
    count, took = least, work(least)
    if took < SECONDS / 2 and count < most:
        count = min(most, max(2 * count, round(count * SECONDS / took)))
        took = work(count)
    return count / took, count


def best(work: Callable[[], Any], device: torch.device, repeats: int = 5) -> float:
    """Seconds of the fastest of some repetitions, the device's work included; one more goes before."""

    def waited() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()

    waited()
    return min(timed(waited)[0] for _ in range(repeats))


def timed_result(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that `work` takes, and what it returns."""
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def product_flops(toy: bool) -> float:
    """The measured peak of large matrix products in bfloat16 (toy: small ones in float32), in FLOP/s."""
    size = 64 if toy else 8192
    like = {"device": "cpu"} if toy else {"device": "cuda", "dtype": torch.bfloat16}
    a, b = torch.randn(size, size, **like), torch.randn(size, size, **like)
    return 2 * size**3 / best(lambda: a @ b, a.device, 10)


def tiles(model: Any, side: int, count: int) -> torch.Tensor:
    """Random tiles, all different."""
    return torch.randn(count, 3, side, side, device=model.device, dtype=model.dtype)


def on_device(batch: Any, device: str) -> Any:
    """A batch with its targets; numbers stay on the CPU, where they are read."""
    if isinstance(batch, dict):
        return {k: on_device(v, device) for k, v in batch.items()}
    return batch.to(device) if isinstance(batch, torch.Tensor) else batch


def forget_peak(device: torch.device) -> None:
    """Peaks of the device's memory count from here on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: torch.device) -> float | None:
    """The peak since; `None` on a CPU."""
    return torch.cuda.max_memory_allocated() / GIB if device.type == "cuda" else None


def _is_gpu_test(path: Path) -> bool:
    return "mark.gpu" in path.read_text("utf-8")
