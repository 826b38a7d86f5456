"""`vital push`: a model, a data set or a Space to the Hub."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..hub_ids import is_hub_id
from .errors import EXIT_SOME_FAILED, Interrupted, UsageError
from .records import printable


if TYPE_CHECKING:
    from ..publishing.contents import Contents

MAX_LISTED = 60
_NOTHING = "unless an address was printed, nothing was published: run the same command again"

logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `push` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "push",
        help="publish a model, a data set or a Space",
        description="Checks a folder (a model loads and scores, with the code files it is sent with, which this "
        "package adds where the folder has none; a data set loads; a Space is complete), shows what will "
        "be sent, sends it to the Hub in one commit, and checks what is there by loading it. "
        "What does not belong to a model, a data set or a Space stays here and is named: states of a training run, "
        "checkpoints, hidden files, caches. What looks like a secret stops it.",
        epilog="Exit code: 0 published, 1 the Hub refused or the check there failed, 2 wrong use or an unfit folder, "
        "130 stopped by Ctrl-C. Whatever goes wrong, no half of it is published: run the same command again.",
        examples=[
            ("what would be sent", "vital push model vital-tiny org/vital-tiny --card card.md --dry-run"),
            ("with a file of one's own", "vital push model my-vital org/my-vital --also figures/plot.pdf"),
            ("a data set, first for us alone", "vital push dataset pairs org/pairs --private --revision v2 --prune"),
        ],
    )
    parser.add_argument("kind", choices=("model", "dataset", "space"), help="what it is")
    parser.add_argument("source", metavar="SRC", help="its folder; for a model also a name of the zoo")
    parser.add_argument("repo_id", metavar="REPO_ID", help="org/name on the Hub; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to publish to; made if it is not there")
    parser.add_argument("--card", type=Path, metavar="FILE", help="send this file as README.md")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="PATH",
        help="a file of the folder to send as well, though it is not on the list of what belongs, looks like a secret "
        "or is a link out of the folder; can be given again",
    )
    parser.add_argument("--prune", action="store_true", help="remove from the repository what the folder lacks")
    parser.add_argument("--dry-run", action="store_true", help="check and show, without the network; send nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Checks, shows, sends and checks again; prints what is sent and the address.

    Args:
        args (`argparse.Namespace`): see `vital push --help`.

    Returns:
        `int`: 0, or 1 if the Hub refused or what is there does not work.

    Raises:
        Interrupted: after Ctrl-C.
        UsageError: for a folder that is not fit to be published, or a wrong name.
    """
    from ..publishing.code_files import laid_out
    from ..publishing.contents import read_contents
    from ..publishing.errors import PublishError
    from ..publishing.trial import run_trial

    if not is_hub_id(args.repo_id):
        raise UsageError(f"{args.repo_id!r} is not a name on the Hub; give org/name.")
    try:
        if args.card is not None and not args.card.is_file():
            raise UsageError(f"{args.card} is not a file; give the card to send as README.md.")
        contents = read_contents(args.kind, _folder(args), args.card, args.also)
        here = None
        if args.kind != "space":
            logger.warning("checking that the %s works", args.kind)
            with laid_out(contents.files) as folder:
                here = run_trial(args.kind, str(folder), None, None, str(contents.root))
    except PublishError as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt as stop:
        raise Interrupted(_NOTHING) from stop
    _show(contents, args.repo_id, args.revision, None if args.dry_run else MAX_LISTED)
    if args.dry_run:
        return 0
    try:
        return _send(args, contents, here)
    except PublishError as error:
        logger.error("%s", error)
        return EXIT_SOME_FAILED
    except KeyboardInterrupt as stop:
        raise Interrupted(_NOTHING) from stop


def _send(args: argparse.Namespace, contents: "Contents", here: dict | None) -> int:
    from huggingface_hub import HfApi, get_token

    from ..publishing.errors import PublishError
    from ..publishing.trial import run_trial
    from ..publishing.upload import upload

    api = HfApi(token=get_token())
    published = upload(contents, args.repo_id, args.private, args.revision, args.prune, api)
    for name in published.kept:
        logger.warning("%s is in the repository, not in the folder; it was left there (--prune removes such)", name)
    if here is not None:
        logger.warning("checking that the %s works from there", args.kind)
        env = {"HF_ENDPOINT": api.endpoint, "HF_TOKEN": str(api.token)}  # `upload` refuses to go without a token
        there = run_trial(args.kind, args.repo_id, published.commit, env)
        if there != here:
            raise PublishError(f"{published.url} was published, but gives {there} and not {here}; look into it.")
    sys.stdout.write(f"{published.url}\n")
    return 0


def _folder(args: argparse.Namespace) -> Path:
    from .. import zoo

    return Path(zoo.resolve(args.source) if args.kind == "model" and args.source in zoo.EMBEDDED else args.source)


def _show(contents: "Contents", repo_id: str, revision: str | None, limit: int | None) -> None:
    branch = f", branch {revision}" if revision else ""
    lines = [f"{contents.kind} {repo_id}{branch}: {len(contents.files)} files, {contents.size_bytes:,} bytes"]
    sizes = [(f"{path.stat().st_size:,}", name) for name, path in contents.files.items()]
    width = max(len(size) for size, _ in sizes)
    lines += [f"  {size:>{width}}  {printable(name)}" for size, name in sizes[:limit]]
    if limit and len(sizes) > limit:
        lines.append(f"  ... and {len(sizes) - limit} more; --dry-run lists all")
    lines += [f"not sent: {printable(name)}" for name in contents.left_out[:limit]]
    if limit and len(contents.left_out) > limit:
        lines.append(f"not sent: {len(contents.left_out) - limit} more; --dry-run lists all")
    sys.stdout.write("\n".join(lines) + "\n")
    for warning in contents.warnings:
        logger.warning("%s", warning)
