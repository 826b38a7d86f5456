"""Reading items in order. Placeholder of the branch `corpus`, whose module of this name reads in worker processes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .media_vital import MediaError, load_media


class DecodeMedia:
    """Reads an item."""

    def __init__(self, sampling: Any = None) -> None:
        self.sampling = sampling

    def __call__(self, item: Any) -> Any:
        """See `load_media`."""
        return load_media(item)


def default_workers() -> int:
    """None: items are read in this process."""
    return 0


@contextmanager
def read_ahead(
    items: Iterable[Any], load: Callable[[Any], Any], *, workers: int, timeout_s: float, ahead: int
) -> Iterator[Iterator[tuple[Any, Any]]]:
    """Yields items and what `load` makes of them, or the `MediaError` that it raises."""

    def read() -> Iterator[tuple[Any, Any]]:
        for item in items:
            try:
                yield item, load(item)
            except MediaError as error:
                yield item, error

    yield read()
