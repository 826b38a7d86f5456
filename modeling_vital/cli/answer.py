"""`vital answer`: a question about a file."""

import argparse

from .errors import UsageError
from .words import add_options, ask_files


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `answer` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "answer",
        help="answer a question about a file",
        description="Answers a question about a picture or clip, in words of its own or with one of several choices, "
        "whose shares are printed too.",
        epilog="Exit code: 0 answered, 1 some files failed, 2 wrong use, 130 stopped by Ctrl-C.",
        examples=[
            ("choose", "vital answer photo.jpg 'What is wrong with it?' --choices blur noise 'nothing at all'"),
            ("in words", "vital answer photo.jpg 'Is it sharp?' --prefix 'I think' --max-new-tokens 16"),
            ("of every file", "vital answer holiday/ 'Is it sharp?' --choices yes no --format jsonl --batch-size 4"),
            (
                "another model, on a GPU",
                "vital answer a.mp4 'Does it stutter?' --model org/vital --device cuda --workers 1 --timeout 60",
            ),
            ("decode clips with PyAV alone", "vital answer clip.mp4 'Is it sharp?' --video-backend pyav"),
        ],
    )
    parser.add_argument("path", metavar="PATH", help="as for vital score")
    parser.add_argument("question", metavar="QUESTION", help="put to the model as it stands")
    parser.add_argument("--choices", nargs="+", metavar="TEXT", help="at least two different answers to choose from")
    parser.add_argument("--prefix", default="", metavar="TEXT", help="how the answer begins; choices follow it")
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Asks `args.question` about what `args.path` stands for.

    Args:
        args (`argparse.Namespace`): see `vital answer --help`.

    Returns:
        `int`: 0, or 1 if a file cannot be read.

    Raises:
        UsageError: for a model that cannot speak, choices that are no choice, or a device that is not there.
    """
    choices = args.choices
    if choices is not None and (len(choices) < 2 or len(set(choices)) < len(choices) or "" in choices):
        raise UsageError(f"--choices needs at least two different answers, got {choices}")
    generation = {} if choices else {"max_new_tokens": args.max_new_tokens}

    def ask(model, media: list) -> list:
        answers = model.answer(
            media, args.question, choices, args.prefix, args.batch_size, errors="return", **generation
        )
        return [answer if isinstance(answer, Exception) else answer.to_dict() for answer in answers]

    return ask_files(args, [args.path], ask)
