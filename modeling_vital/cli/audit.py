"""`vital audit`: checks of what VITAL's training stands on."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from .errors import UsageError
from .score import _first_line, load_model, resolve_model


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `audit` and its own subcommands to those of `vital`."""
    parser = commands.add_parser(
        "audit",
        help="check vocabulary and machine labels",
        description="Checks of what the training stands on: do tokenizer and decoder know the words?",
    )
    audits = parser.add_subparsers(dest="audit", metavar="AUDIT", required=True)
    vocab = audits.add_parser(
        "vocab",
        help="tokens, embedding norms and probabilities of level, severity and distortion words",
        description="For any decoder: how many tokens each word costs, which words begin alike, which tokens have "
        "unusual embedding norms, how probable each word is after its prefix, and the blind spots that follow.",
    )
    vocab.add_argument(
        "--model", default="vital-tiny", help="a VITAL model, or any causal language model (default: %(default)s)"
    )
    vocab.add_argument("--tokenizer-only", action="store_true", help="do not load weights: tokens only")
    vocab.add_argument("--device", default="auto", help="as for vital score (default: %(default)s)")
    _add_output(vocab)
    vocab.set_defaults(run=run_vocab)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="on stdout (default: %(default)s)"
    )
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

    tokenizer, model = _decoder(args)
    vocabulary = dict(VOCABULARY)
    level_words = getattr(getattr(model, "config", None), "level_words", None)
    if level_words:
        vocabulary["level"] = (VOCABULARY["level"][0], tuple(level_words))
    report = {"model": args.model, **audit_vocabulary(tokenizer, model, vocabulary), "versions": versions()}
    _emit(args, report, "vocab.json", _vocab_table)
    return 0


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
        return tokenizer, AutoModelForCausalLM.from_pretrained(source, trust_remote_code=False).to(device).eval()
    except (OSError, ValueError) as error:
        raise UsageError(f"no decoder can be loaded from {args.model!r}: {_first_line(error)}") from error


def _emit(args: argparse.Namespace, report: dict[str, Any], name: str, table: Any) -> None:
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    if args.output:
        os.makedirs(args.output, exist_ok=True)
        (args.output / name).write_text(text, encoding="utf-8")
    sys.stdout.write(text if args.format == "json" else table(report))


def _vocab_table(report: dict[str, Any]) -> str:
    from ..evaluation.report import aligned

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
