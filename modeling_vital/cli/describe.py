"""`vital describe`: the quality of files in words."""

import argparse

from .words import add_options, ask_files


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `describe` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "describe",
        help="describe quality in words",
        description="Describes the quality of pictures and clips in words.",
        epilog="Exit code: 0 all described, 1 some files failed, 2 wrong use, 130 stopped by Ctrl-C.",
        examples=[
            ("what is wrong with it", "vital describe photo.jpg"),
            ("a folder, for a program", "vital describe holiday/ --format jsonl --batch-size 4 --max-new-tokens 32"),
            ("ask for something else", "vital describe clip.mp4 --prompt 'How sharp is it?' --model org/vital"),
            (
                "say how it begins, on a GPU",
                "vital describe a.jpg --prefix 'The colours are' --device cuda --workers 1 --timeout 60",
            ),
            ("decode clips with PyAV alone", "vital describe clip.mp4 --video-backend pyav"),
        ],
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="as for vital score")
    parser.add_argument("--prompt", metavar="TEXT", help="what the model is asked; nothing by default, as it learned")
    parser.add_argument("--prefix", metavar="TEXT", help="how the description begins")
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Describes what `args.paths` stand for.

    Args:
        args (`argparse.Namespace`): see `vital describe --help`.

    Returns:
        `int`: 0, or 1 if a file cannot be read.

    Raises:
        UsageError: for a model that cannot speak, or a device that is not there.
    """

    def ask(model, media: list) -> list:
        generation = {"max_new_tokens": args.max_new_tokens}
        texts = model.describe(media, args.prompt, args.prefix, args.batch_size, errors="return", **generation)
        return [{"text": text} if isinstance(text, str) else text for text in texts]

    return ask_files(args, args.paths, ask)
