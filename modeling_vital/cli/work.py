"""The work of one `vital score`: its items are listed, then read and scored batch by batch."""

import argparse
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..item_log import ItemLog
from .calibrations import checked_calibration, open_calibration, require_calibration
from .collect import collect
from .loading import load_model
from .pages import PageCount
from .printing import printable, terminal_width
from .scoring import Extras, Item, score_reads
from .where import Locator, plain_name


if TYPE_CHECKING:
    from tqdm import tqdm

    from ..calibration_vital import Calibration

PROGRESS_DELAY_S = 2

logger = logging.getLogger(__name__)


class Work:
    """Items to be scored and the log that keeps their records.

    Args:
        args (`argparse.Namespace`): what to score and how, see `vital score --help`.
        source (`str`): folder or Hub id of the model.
        log (`ItemLog`): of this run.

    Attributes:
        width (`int`): terminal columns of the longest path, once listed.
        calibration (`Calibration`, *optional*): what turns scores into a MOS; known once the model is.
    """

    def __init__(self, args: argparse.Namespace, source: str, log: ItemLog) -> None:
        self.log, self.width = log, 0
        self.calibration: Calibration | None = None
        self._names: Counter[str] = Counter()  # of files that may get a map or curve
        self._args, self._source = args, source

    def records(self) -> Iterator[list[dict[str, Any]]]:
        """Lists the items, loads the model if there is something for it, and scores what has no record yet.

        Yields:
            `list[dict]`: the records of a batch, which are in the log by then; first an empty one, when `width` and
            the log's `level_words` are known.

        Raises:
            UsageError: for a list, a data set, a model or a device that cannot be used.
        """
        args, log = self._args, self.log
        if args.dataset:
            from .dataset_rows import name_width, pending_rows

            self.width = name_width()
            items: Iterable[Item] = pending_rows(args, log)
        else:
            self._list()
            items = (Item(*each) for each in log.pending())
        model = None
        calibration = open_calibration(args.calibration, self._source)
        if args.dataset or log.needs_model or calibration is not None:
            model = load_model(self._source, args.device)
            log.level_words = model.config.level_words
            self.calibration = checked_calibration(calibration, model, given=args.calibration is not None)
        require_calibration(args.where, self.calibration)
        repeated = {name for name, count in self._names.items() if count > 1}
        locator, pages = Locator(model, args.map, args.curve, args.timeout, repeated), PageCount()
        yield []
        from .. import reading  # noqa: F401  its import shall not count as slow scoring

        with _progress(None, None if args.dataset else log.items, log.done) as bar:
            settings = (args.batch_size, args.workers, args.timeout, args.allow_urls)
            for batch in score_reads(model, items, *settings, Extras(picture=args.map is not None)):
                for read, _ in batch:
                    if read.error is None:
                        pages.add(read.media)
                locator.write(batch)
                log.save([(read.item.ordinal, record) for read, record in batch])
                records = [record for _, record in batch]
                bar.clear()
                yield records
                bar.update(len(batch))
        pages.warn()

    def _list(self) -> None:
        with _progress("listing", None) as bar:
            for target in collect(self._args.paths, self._args.column or "path", self._args.allow_outside):
                if self.log.add(target.path, target.error, target.stamp):
                    if self._args.map or self._args.curve:
                        self._names[plain_name(target.path).casefold()] += 1
                    self.width = max(self.width, terminal_width(printable(target.path)))
                    bar.update()
        if changed := self.log.changed:
            logger.warning("%d files have changed since they were scored; they are scored again", changed)


def _progress(what: str | None, total: int | None, done: int = 0) -> "tqdm":
    """A bar on stderr that shows after `PROGRESS_DELAY_S` seconds, and only on a terminal."""
    from tqdm import tqdm

    options = {"unit": "file", "delay": PROGRESS_DELAY_S, "leave": False, "disable": None}
    return tqdm(desc=what, total=total, initial=done, **options)
