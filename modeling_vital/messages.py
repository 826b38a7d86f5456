"""Progress bars and parts of messages."""

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(*items: Any, **options: Any) -> "tqdm":
    """Makes a bar on stderr that shows after 2 s, on a terminal alone, and goes when the work is done.

    Args:
        items, options: of `tqdm.tqdm`.
    """
    from tqdm import tqdm

    return tqdm(*items, **{"delay": 2, "leave": False, "disable": None, **options})


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


MAX_MESSAGE_CHARS = 1000
"""Characters of an error message that is kept or shown: what it quotes may be a stranger's, and of any length."""


def short(message: str) -> str:
    """A message cut in its middle to `MAX_MESSAGE_CHARS` characters, so that what to do, at its end, stays."""
    if len(message) <= MAX_MESSAGE_CHARS:
        return message
    half = (MAX_MESSAGE_CHARS - len(" ... ")) // 2
    return f"{message[:half]} ... {message[-half:]}"
