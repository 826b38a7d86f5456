"""`vital convert`: published weights of other layouts to a folder that `from_pretrained` loads."""

import argparse
import logging

from .errors import EXIT_SOME_FAILED, Interrupted, UsageError


logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `convert` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "convert",
        help="convert published weights",
        description="Converts published weights to a folder that this package loads. SRC is one of\n"
        "  - a released VITAL checkpoint (Base, Assistant, Warm-up), or the released linear probe,\n"
        "  - an InternVL3 model, original or transformers' own layout (-hf): with --motion it becomes the\n"
        "    starting point of VITAL's pre-training,\n"
        "  - an image encoder alone: becomes an encoder that transformers' AutoModel loads.\n"
        "Every key and shape is checked before anything is written. An interrupted conversion resumes\n"
        "when the same command is run again; DST appears only when it is complete.",
        epilog="Exit code: 0 converted, 1 the source cannot be converted, 2 wrong use, 130 stopped by Ctrl-C.",
        examples=[
            ("a released VITAL checkpoint", "vital convert org/released vital-8b --revision main"),
            ("a starting point", "vital convert org/internvl3 start --motion SLOWFAST_8x8_R50.pyth"),
            (
                "with a tokenizer from elsewhere, and level values .9 to .1",
                "vital convert released/ vital-8b --tokenizer org/decoder --scoring default",
            ),
        ],
    )
    parser.add_argument("source", metavar="SRC", help="a folder, or a Hub id such as org/name")
    parser.add_argument("destination", metavar="DST", help="folder to be made; it must not exist, or be empty")
    parser.add_argument(
        "--motion", metavar="FILE", help="weights of SlowFast-R50 8x8 (SLOWFAST_8x8_R50.pyth), for InternVL3"
    )
    parser.add_argument(
        "--tokenizer", metavar="NAME", help="folder or Hub id of the tokenizer, where SRC has none that can be used"
    )
    parser.add_argument(
        "--scoring",
        metavar="NAME",
        help="how it scores: default (level values .9 to .1, wording of the training data), released (values 1 to "
        ".2, wording and frames of the authors' scoring script) or released_less_token (their faster variant for "
        "clips); by default, released for released VITAL checkpoints and default for others",
    )
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a Hub id")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Converts `args.source` to `args.destination`.

    Args:
        args (`argparse.Namespace`): `source`, `destination`, `motion`, `tokenizer`, `scoring` and `revision`, see
            `vital convert --help`.

    Returns:
        `int`: 0 when the destination is there, 1 when the source cannot be converted.

    Raises:
        Interrupted: after Ctrl-C.
        UsageError: for a source, destination or option that cannot be.
    """
    from ..conversion.errors import ConversionError, ConversionUsageError

    try:
        from transformers.utils import logging as transformers_logging

        from ..conversion.convert import convert

        transformers_logging.set_verbosity_error()
        logging.getLogger("modeling_vital").setLevel(logging.INFO)  # which tensors have no use
        done = convert(
            args.source,
            args.destination,
            motion=args.motion,
            tokenizer=args.tokenizer,
            scoring=args.scoring,
            revision=args.revision,
        )
    except ConversionUsageError as error:
        raise UsageError(str(error)) from error
    except (ConversionError, OSError) as error:
        logger.error("%s", error)
        return EXIT_SOME_FAILED
    except KeyboardInterrupt as stop:
        raise Interrupted("the same command resumes from here") from stop
    logger.info("%s is complete", done)
    return 0
