"""One script for a bare machine with a GPU and no network: tests, speed and memory in at most four minutes.

    python -m benchmarks.gpu                    into benchmarks/results: gpu.json and gpu.md
    python -m benchmarks.gpu --page PAGE        the table of those numbers into a page; measures nothing
    python -m benchmarks.gpu --seconds 600      more of it, on a slow machine
    python -m benchmarks.gpu --toy              every line of it once on the CPU: the numbers are arbitrary
    python -m benchmarks.gpu --wheels           what it needs beside the repository

Results are written after each part. A part that fails or takes too long costs itself alone, and what the time did not
suffice for is named as such. Weights are random, made on the device; pictures and clips it makes itself.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modeling_vital.whole_files import write_whole

from .parts import Part, run_parts
from .speed_report import markdown_table, put_block


WHEELS = {
    "transformers": 13.5,
    "decord": 13.6,
    "pyyaml": 0.8,
    "regex": 0.8,
    "pytest": 0.4,
    "jinja2": 0.1,
    "typer": 0.1,
    "tqdm": 0.1,
    "pluggy": 0.03,
    "markupsafe": 0.02,
    "iniconfig": 0.01,
}
"""What a machine with torch, NumPy, Pillow, OpenCV, SciPy, accelerate, safetensors, tokenizers and huggingface_hub may
lack, with the size of the wheel in MB (Linux on x86-64, Python 3.11)."""

RESULTS, TOY_RESULTS = Path("benchmarks/results"), Path("build/benchmarks-gpu-toy")
BEGIN, END = "<!-- speed-gpu:begin -->\n", "<!-- speed-gpu:end -->"
KINDS = ("1 tile", "7 tiles", "clip")
SIZES = ("tiny", "1b", "8b")
NOT_MEASURED = "not measured"


def parts(toy: bool, folder: str) -> list[Part]:
    """All that is measured, the most wanted first.

    Args:
        toy (`bool`): on the CPU, at toy size.
        folder (`str`): for pictures and clips.
    """
    tests_s = 600.0 if toy else 100.0

    def part(name: str, function: str, *args: Any, limit_s: float = 30.0) -> Part:
        limit_s = max(limit_s, 300.0) if toy else limit_s  # a CPU may be busy, and limits are for GPUs
        return Part(name, f"benchmarks.gpu_parts:{function}", (toy, *args), limit_s)

    found = [part("machine", "machine"), part("tests", "run_tests", tests_s - 1, limit_s=tests_s)]
    for size in ("1b", "8b"):
        found += [part(f"scoring, {size}, {kind}", "scoring", folder, size, kind, limit_s=40.0) for kind in KINDS]
        found.append(part(f"image encoder, {size}", "encoder", size))
        for stage in ("pretrain", "warm_up"):
            for checkpointing in (False, True):
                name = f"training, {size}, {stage}, {'with' if checkpointing else 'without'} checkpointing"
                found.append(part(name, "training", size, stage, checkpointing))
    found += [part(f"scoring, tiny, {kind}", "scoring", folder, "tiny", kind, limit_s=40.0) for kind in KINDS]
    found += [part(f"peers, 1b, {kind}", "peers", kind) for kind in ("one photo", "eight photos", "clip")]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and writes JSON and Markdown.

    Returns:
        `int`: 0; 1 if a part failed; 2 without a CUDA device.
    """
    args = _parser().parse_args(argv)
    if args.wheels:
        sys.stdout.write("".join(f"{name:<14}{size:>7.2f} MB\n" for name, size in WHEELS.items()))
        return 0
    output = args.output or (TOY_RESULTS if args.toy else RESULTS)
    if args.page:
        report = json.loads((output / "gpu.json").read_text("utf-8"))
        put_block(args.page, BEGIN, table(report), END)
        return 0
    if not args.toy:
        import torch

        if not torch.cuda.is_available():
            sys.stderr.write("There is no CUDA device. `--toy` runs every line once on the CPU.\n")
            return 2
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here needs the network
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    output.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:

        def report(results: dict[str, dict[str, Any]]) -> None:
            write(output, {"toy": args.toy, "seconds": round(time.monotonic() - begun, 1), "parts": results})

        results = run_parts(parts(args.toy, folder), args.seconds, report)
    failed = [name for name, result in results.items() if result["status"] == "failed"]
    sys.stderr.write(f"wrote {output / 'gpu.md'}\n")
    if failed:
        sys.stderr.write(f"failed: {'; '.join(failed)}\n")
    return int(bool(failed))


def write(output: Path, report: dict[str, Any]) -> None:
    """Writes `gpu.json` and `gpu.md`, each whole or not at all."""
    for name, text in (("gpu.json", json.dumps(report, indent=1) + "\n"), ("gpu.md", markdown(report))):
        write_whole(output / name, text)


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown: a row a part."""
    lines = ["# Measured on a GPU", ""]
    if report["toy"]:
        lines += ["At toy size on a CPU: the numbers are arbitrary.", ""]
    lines += [
        "Rates are items, tiles or samples a second; `share of model` is of the model alone, on prepared items.",
        "Training is the trainer's collator, loss and frozen parts with AdamW, weights and optimiser in bfloat16, not",
        "`VitalTrainer` itself. Weights are random, of the true sizes, but for those of vital-tiny.",
        "",
        f"| part ({report['seconds']:g} s in all) | s | result |",
        "|---|---|---|",
    ]
    for name, part in report["parts"].items():
        told = _told(part["result"]) if part["status"] == "measured" else f"**{part['status']}**: {part['why']}"
        lines.append(f"| {name} | {part.get('seconds', '')} | {told.replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def table(report: dict[str, Any]) -> str:
    """Renders what a page shows of a report: tables of scoring, image encoders and training steps.

    Raises:
        ValueError: for a report at toy size, whose numbers mean nothing.
    """
    if report["toy"]:
        raise ValueError("The numbers of a run at toy size are not for a page: measure on a GPU.")
    parts = {name: part["result"] for name, part in report["parts"].items() if part["status"] == "measured"}
    about = parts["machine"]
    ways = ("model only", "from memory", "from files", "from files, start included")
    scored = [
        (size, kind, *(_rate(found["items_per_s"].get(way)) for way in ways), _rate(found["peak_gib"]))
        for size in SIZES
        for kind in KINDS
        for found in [parts.get(f"scoring, {size}, {kind}", {"items_per_s": {}, "peak_gib": None})]
    ]
    encoded = []
    for size in ("1b", "8b"):
        found = parts.get(f"image encoder, {size}", {})
        shares = found.get("share_of_products", {})
        for count, rate in found.get("tiles_per_s", {}).items():
            encoded.append((size, count, _rate(rate), f"{shares[count]:.0%}"))
    steps = [
        (*name.removeprefix("training, ").split(", "), _rate(found["samples_per_s"]), _rate(found["peak_gib"]))
        for name, found in parts.items()
        if name.startswith("training, ")
    ]
    beside = [
        (name.removeprefix("peers, 1b, "), way, _rate(rate), _rate(found["peak_gib"][way]))
        for name, found in parts.items()
        if name.startswith("peers, ")
        for way, rate in found["items_per_s"].items()
    ]
    text = (
        f"Measured on: {about['gpu']}, {about['usable_cores']} cores, torch {about['torch']}, weights in bfloat16 "
        f"(tiny in float32).\nLarge matrix products reach {about['product_tflops']:.0f} TFLOP/s there. "
        f"Made by `make speed-gpu`.\n\n"
        + markdown_table(("model", "item", *(f"{way}, items/s" for way in ways), "peak, GiB"), scored)
        + "\n"
        + markdown_table(("image encoder", "tiles", "tiles/s", "of the products' rate"), encoded)
    )
    if steps:
        head = ("model", "training step", "checkpointing", "samples/s", "peak, GiB")
        text += "\n" + markdown_table(head, steps)
    if beside:
        text += "\n" + markdown_table(("1b scores", "way", "items/s", "peak, GiB"), beside)
    lacking = dict.fromkeys(name.partition(",")[0] for name in report["parts"] if name not in parts)
    lacking.pop("tests", None)
    if lacking:
        text += f"\nNot measured, or not all of it: {', '.join(lacking)}.\n"
    return text


def _rate(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _told(value: Any) -> str:
    if isinstance(value, dict):
        told = ((key.replace("_", " "), item) for key, item in value.items() if item is not None)
        return "; ".join(f"{key} ({_told(v)})" if isinstance(v, dict) else f"{key} {_told(v)}" for key, v in told)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Measures one GPU.")
    parser.add_argument("--seconds", type=float, default=240.0, help="for all of it; default: %(default)g")
    parser.add_argument("--toy", action="store_true", help="every line once on the CPU, at toy size")
    parser.add_argument("--output", type=Path, help=f"folder of the report; default: {RESULTS}")
    parser.add_argument("--page", type=Path, help="put the table of what was measured into a page, and stop")
    parser.add_argument("--wheels", action="store_true", help="print what a bare machine usually lacks, and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
