"""`vital audit`: checks of what VITAL's training stands on."""

import argparse
import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

from ..item_log import SUFFIX
from ..messages import first_line, progress_bar
from ..whole_files import whole_file, write_whole
from .errors import Interrupted, UsageError
from .model_loading import load_model, move, resolve_model
from .options import add_device, add_format, add_video_backend, positive
from .records import prepare_folder


_EXIT_CODES = "Exit code: 0 whatever was found, 2 wrong use, 130 stopped by Ctrl-C."

logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `audit` and its own subcommands to those of `vital`."""
    parser = commands.add_parser(
        "audit",
        help="check vocabulary and machine labels",
        description="Checks of what the training stands on: do machine opinions stand for people, do tokenizer and "
        "decoder know the words?",
    )
    audits = parser.add_subparsers(dest="audit", metavar="AUDIT", required=True)
    vocab = audits.add_parser(
        "vocab",
        help="tokens, embedding norms and probabilities of level, severity and distortion words",
        description="For any decoder: how many tokens each word costs, which words begin alike, which tokens have "
        "unusual embedding norms, how probable each word is after its prefix, and the blind spots that follow.",
        epilog=_EXIT_CODES,
        examples=[
            ("a model of the zoo", "vital audit vocab --model vital-tiny --device cpu"),
            ("any tokenizer", "vital audit vocab --model org/decoder --tokenizer-only --format json --output audit"),
        ],
    )
    vocab.add_argument(
        "--model", default="vital-tiny", help="a VITAL model, or any causal language model (default: %(default)s)"
    )
    vocab.add_argument("--tokenizer-only", action="store_true", help="do not load weights: tokens only")
    add_device(vocab)
    _add_output(vocab)
    vocab.set_defaults(run=run_vocab)
    pmod = audits.add_parser(
        "pmod",
        help="machine opinions against human ones",
        description="Compares the machine opinions of a data set with human ones on a stratified sample: agreement "
        "and bias of their mean and of each annotator, and whether their spread means anything.",
        epilog=_EXIT_CODES,
        examples=[
            (
                "opinions from 0 to 100",
                "vital audit pmod --root pairs --human mos.csv --mos-range 0 100 --output audit",
            ),
            (
                "the spread too, of a part",
                "vital audit pmod --root pairs --human mos.csv --std-column sd --split test --per-stratum 50 "
                "--resamples 2000 --seed 1 --format json",
            ),
        ],
    )
    _add_opinions(pmod)
    _add_output(pmod)
    pmod.set_defaults(run=run_pmod)
    labels = audits.add_parser(
        "labels",
        help="training on machine labels against training on human ones",
        description="Freezes an encoder, trains a linear head on PMOD distributions and others by plain regression on "
        "ever more human opinions, and measures all against people on contents none of them saw.",
        epilog=_EXIT_CODES,
        examples=[
            ("with the encoder of vital-tiny", "vital audit labels --root pairs --human mos.csv --output audit"),
            (
                "of another model, on a GPU",
                "vital audit labels --model org/vital --device cuda --root pairs --human mos.csv --mos-range 1 5 "
                "--std-column sd --split train --test-split test --per-stratum 20 --resamples 500 --seed 1 "
                "--video-backend auto --format json",
            ),
        ],
    )
    labels.add_argument("--model", default="vital-tiny", help="whose encoder (default: %(default)s)")
    add_device(labels)
    add_video_backend(labels)
    _add_opinions(labels, split="train", per_stratum=10)
    labels.add_argument("--test-split", default="test", help="default: %(default)s")
    _add_output(labels)
    labels.set_defaults(run=run_labels)


def _add_opinions(parser: argparse.ArgumentParser, split: str = "all", per_stratum: int = 20) -> None:
    parser.add_argument("--root", metavar="DIR", type=Path, required=True, help="data set that dataset_scripts built")
    parser.add_argument(
        "--human",
        metavar="CSV",
        type=Path,
        required=True,
        help="columns mos (or mean), and id, or distortion with severity (or level): of items, or of kinds of items",
    )
    parser.add_argument(
        "--mos-range", nargs=2, type=float, default=(1.0, 5.0), metavar=("WORST", "BEST"), help="default: 1 5"
    )
    parser.add_argument("--std-column", default="", metavar="NAME", help="column with the spread of people's opinions")
    parser.add_argument("--split", default=split, help="of the data set (default: %(default)s)")
    parser.add_argument(
        "--per-stratum",
        type=positive,
        default=per_stratum,
        metavar="N",
        help="items of each distortion and severity, at most (default: %(default)s)",
    )
    parser.add_argument("--resamples", type=positive, default=1000, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")


def _add_output(parser: argparse.ArgumentParser) -> None:
    add_format(parser, "table", "json")
    parser.add_argument("--output", metavar="DIR", type=Path, help="folder for the report as JSON")


def run_vocab(args: argparse.Namespace) -> int:
    """Looks at the words of a decoder and prints what was found.

    Args:
        args (`argparse.Namespace`): `model`, `tokenizer_only`, `device`, `format`, `output`.

    Returns:
        `int`: 0, whatever was found.

    Raises:
        UsageError: for a model that is not there, or that has no decoder.
    """
    from ..evaluation.results import versions
    from ..evaluation.vocabulary_audit import VOCABULARY, audit_vocabulary

    prepare_folder(args.output)
    tokenizer, model = _decoder(args)
    vocabulary = dict(VOCABULARY)
    level_words = getattr(getattr(model, "config", None), "level_words", None)
    if level_words:
        vocabulary["level"] = (VOCABULARY["level"][0], tuple(level_words))
    report = {"model": args.model, **audit_vocabulary(tokenizer, model, vocabulary), "versions": versions()}
    _emit(args, report, "vocab.json", _vocab_table)
    return 0


def run_pmod(args: argparse.Namespace) -> int:
    """Compares machine with human opinions and prints what was found.

    Args:
        args (`argparse.Namespace`): see `vital audit pmod --help`.

    Returns:
        `int`: 0, whatever was found.

    Raises:
        UsageError: for data or a table that are not as they should be.
    """
    from ..evaluation.pmod_audit import audit_pmod, plot_spread

    prepare_folder(args.output)
    opinions = _opinions(args, args.split)
    try:
        found = audit_pmod(opinions, args.resamples, args.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    report = _about(args) | found
    _emit(args, report, "pmod.json", _pmod_table, "pmod_spread.png", plot_spread)
    return 0


def run_labels(args: argparse.Namespace) -> int:
    """Trains heads on machine and on human labels and prints how well each follows people.

    Args:
        args (`argparse.Namespace`): see `vital audit labels --help`.

    Returns:
        `int`: 0, whatever was found.

    Raises:
        Interrupted: after Ctrl-C.
        UsageError: for a model without this use, data or a table that are not as they should be.
    """
    import numpy as np

    from ..evaluation.benchmarks.pairs import load_pairs
    from ..evaluation.label_audit import audit_labels, extract_features

    prepare_folder(args.output)
    parts = [_opinions(args, split) for split in (args.split, args.test_split)]
    model = load_model(resolve_model(args.model), args.device)
    if not hasattr(model, "encode_media"):
        raise UsageError(f"{args.model!r} is a linear probe: give the model that it was made from")
    try:
        known = {item.id: item for item in load_pairs(args.root, "all").items}
        store, features = args.output and args.output / f"features{SUFFIX}", []
        for part in parts:
            media: list[Any] = [known[name].media for name in part.ids]
            with progress_bar(total=len(media), desc="features", unit="item") as bar:
                features.append(extract_features(model, part.ids, media, store, bar.update))
        probs = np.array([known[name].level_probs for name in parts[0].ids])
        found = audit_labels(parts[0], features[0], probs, parts[1], features[1], args.resamples, args.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt as stop:
        raise Interrupted("with --output, the same command resumes") from stop
    _emit(args, {"model": args.model, **_about(args), **found}, "labels.json", _labels_table)
    return 0


def _opinions(args: argparse.Namespace, split: str) -> Any:
    from ..evaluation.human_labels import load_opinions, stratified
    from ..extras import MissingExtraError

    if args.mos_range[0] == args.mos_range[1]:
        raise UsageError("--mos-range needs two different ends")
    try:
        opinions = load_opinions(args.root, args.human, tuple(args.mos_range), args.std_column, split)
    except (OSError, ValueError, MissingExtraError) as error:
        raise UsageError(str(error)) from error
    return stratified(opinions, args.per_stratum, args.seed)


def _about(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings that a report depends on."""
    import hashlib

    from ..evaluation.results import versions

    settings = {name: getattr(args, name) for name in ("split", "per_stratum", "resamples", "seed", "std_column")}
    return {
        "root": str(args.root),
        "human": {"file": args.human.name, "sha256": hashlib.sha256(args.human.read_bytes()).hexdigest()},
        "settings": settings | {"mos_range": list(args.mos_range)},
        "versions": versions(),
    }


def _decoder(args: argparse.Namespace) -> tuple[Any, Any]:
    """Tokenizer and, unless only that is asked for, the model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

    from ..processing_vital import VitalProcessor

    source = resolve_model(args.model)
    try:
        kind = PreTrainedConfig.get_config_dict(source)[0].get("model_type", "")
        if kind == "vital_probe":
            raise UsageError(f"{args.model!r} is a linear probe: it has no decoder and no words")
        if kind == "vital":  # by our own classes: transformers' would ask for leave to run the code beside it
            tokenizer = VitalProcessor.from_pretrained(source).tokenizer
        else:
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        if args.tokenizer_only:
            return tokenizer, None
        if kind == "vital":
            return tokenizer, load_model(source, args.device)
        device = "cpu" if args.device == "auto" else args.device
        return tokenizer, move(AutoModelForCausalLM.from_pretrained(source, trust_remote_code=False), device).eval()
    except (OSError, ValueError) as error:
        raise UsageError(f"no decoder can be loaded from {args.model!r}: {first_line(error)}") from error


def _emit(
    args: argparse.Namespace, report: dict[str, Any], name: str, table: Any, picture: str = "", plot: Any = None
) -> None:
    """Prints a report as text or JSON, and writes it, and its picture where there is one, into `args.output`."""
    from ..evaluation.results import plain

    text = json.dumps(plain(report), indent=2, allow_nan=False) + "\n"
    if args.output:
        try:
            write_whole(args.output / name, text)
            if picture:
                with whole_file(args.output / picture) as unfinished:
                    plot(report, unfinished)
        except OSError as error:
            raise UsageError(f"{args.output} cannot be written: {error.strerror or error}") from error
    sys.stdout.write(text if args.format == "json" else table(report))


def _vocab_table(report: dict[str, Any]) -> str:
    from ..evaluation.result_tables import aligned

    rows = [("word", "kind", "tokens", "norm z", "probability")]
    for entry in report["words"]:
        z, p = entry.get("norm_z"), entry.get("probability")
        rows.append(
            (
                entry["word"],
                entry["kind"],
                str(entry["n_tokens"]),
                "-" if z is None else f"{z:+.1f}",
                "-" if p is None else f"{p:.2g}",
            )
        )
    spots = [f"- {spot}" for spot in report["blind_spots"]] or ["none found"]
    lines = [*aligned(rows), "", "Blind spots:", *spots, "", "Limits:", *(f"- {text}" for text in report["limits"])]
    return "\n".join(lines) + "\n"


def _pmod_table(report: dict[str, Any]) -> str:
    from ..evaluation.result_tables import aligned, number

    rows: list[tuple[str, ...]] = [("opinion", "n", "srcc", "95 %", "plcc", "bias", "mean error")]
    for name, found in {"mean of all": report["mean"], **report["annotators"]}.items():
        low, high = found.get("intervals", {}).get("srcc", (math.nan, math.nan))
        numbers = [number(found.get(key)) for key in ("srcc", "plcc", "bias", "mae")]
        span = "-" if math.isnan(low) else f"{low:.2f} to {high:.2f}"
        rows.append((name, str(found["n"]), numbers[0], span, *numbers[1:]))
    kinds: list[tuple[str, ...]] = [("distortion", "n", "bias", "mean error", "std")]
    for name, found in report["distortions"].items():
        kinds.append((name, str(found["n"]), *(number(found[key]) for key in ("bias", "mae", "std"))))
    spread = report["spread"]
    bins: list[tuple[str, ...]] = [("fifth by std", "n", "std", "RMS error", "human std")]
    for fifth, found in enumerate(spread["bins"], start=1):
        bins.append((str(fifth), str(found["n"]), *(number(found.get(k)) for k in ("std", "rms_error", "human_std"))))
    lines = [
        f"{report['n']} items with human opinions of their {report['by']}; {report['too_few_opinions']} with too few "
        f"machine opinions and {report['unmatched']} without a human one skipped; all on [0, 1]",
        *("", *aligned(rows), "", *aligned(kinds), "", *aligned(bins)),
        f"std with the error of the mean: srcc {spread['with_error']['srcc']:.3f}; within 1 std "
        f"{100 * spread['within_1_std']:.0f} % (normal: 68), within 2 {100 * spread['within_2_std']:.0f} % (95)",
        *("", "Blind spots:", *([f"- {spot}" for spot in report["blind_spots"]] or ["none found"])),
    ]
    return "\n".join(lines) + "\n"


def _labels_table(report: dict[str, Any]) -> str:
    from ..evaluation.result_tables import aligned, number

    rows = [("trained on", "labels", "srcc", "95 %", "plcc", "rmse")]
    for name, head in report["heads"].items():
        low, high = head["intervals"]["srcc"]
        span = f"{low:.2f} to {high:.2f}"
        rows.append(
            (name, str(head["labels"]), number(head["srcc"]), span, number(head["plcc"]), number(head["rmse"]))
        )
    c = report["comparison"]
    worth = "no number of human labels tried" if report["worth"] is None else f"{report['worth']} human labels"
    lines = [
        f"linear heads on one frozen encoder, {report['train']} training items, measured against people on "
        f"{report['test']} items of {report['test_contents']} other contents",
        *("", *aligned(rows), ""),
        f"pmod over {c['b']}: srcc {c['difference']:+.3f} ({c['low']:+.3f} to {c['high']:+.3f}), "
        f"p = {c['p_value']:.3g}",
        f"{worth} reach the srcc of pmod",
        *("", "Blind spots:", *(f"- {spot}" for spot in report["blind_spots"])),
    ]
    return "\n".join(lines) + "\n"
