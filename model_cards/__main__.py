"""`python -m model_cards render | record | page`: cards of the zoo, the data they show, the page of models."""

import argparse
import shutil
import sys
from pathlib import Path

from model_cards.models_page import PAGE, write_models_page
from model_cards.record import record
from model_cards.render import DEFAULT_ORG, PICTURES, ROOT, CardError, render_model_card
from modeling_vital import zoo
from modeling_vital.whole_files import require_output_folder


def main(argv: list[str] | None = None) -> int:
    """Renders what is asked for and prints the paths.

    Returns:
        `int`: 0, or 2 for an unknown name, or weights or a result that cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m model_cards", description="Cards of the models.")
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser(
        "render", help="write cards", description="Writes FOLDER/NAME.md for each model, and the pictures they show."
    )
    render.add_argument("names", nargs="*", metavar="NAME", help=f"default: all ({', '.join(zoo.NAMES)})")
    render.add_argument("--org", default=DEFAULT_ORG, help="whose name stands in the code (default: %(default)s)")
    render.add_argument(
        "--weights",
        type=Path,
        metavar="FOLDER",
        help="of one NAME: its weights, whose hashes and calibration.json it shows (default: those in the package)",
    )
    render.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where to write; may exist")
    keep = commands.add_parser(
        "record",
        help="keep what was measured",
        description="Puts the result of `python -m training.suite --output` into the data of a card and into "
        "docs/models.md.",
    )
    keep.add_argument("name", choices=zoo.EMBEDDED, help="of the measured model")
    keep.add_argument("result", type=Path, help="result.json")
    keep.add_argument("--training", type=Path, metavar="FILE", help="cost.json of make tiny")
    commands.add_parser("page", help="write the tables of docs/models.md", description="Makes docs/models.md again.")
    args = parser.parse_args(argv)
    if args.command == "page":
        write_models_page()
        sys.stdout.write(f"{PAGE}\n")
        return 0
    if args.command == "record":
        return _record(args)
    if args.weights is not None and len(args.names) != 1:
        sys.stderr.write("--weights is of one model; give its NAME\n")
        return 2
    require_output_folder(render, "--output", args.output)
    try:
        cards = {n: render_model_card(n, f"{args.org}/{n}", args.weights) for n in args.names or zoo.NAMES}
    except CardError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    args.output.mkdir(parents=True, exist_ok=True)
    for name, card in cards.items():
        path = args.output / f"{name}.md"
        path.write_text(card, encoding="utf-8")
        for picture, file in PICTURES.items():
            if f"({picture})" in card:
                shutil.copy(ROOT / "docs" / "images" / file, args.output / picture)
        sys.stdout.write(f"{path}\n")
    return 0


def _record(args: argparse.Namespace) -> int:
    try:
        written = record(args.name, args.result, args.training)
    except CardError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.writelines(f"{path}\n" for path in written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
