"""Describe, polish, judge, review: the four steps for one item, and for many."""

import contextlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.interpretation import prompts
from dataset_scripts.interpretation.chat import ChatError, ChatSetupError
from dataset_scripts.interpretation.describe import Describer
from dataset_scripts.interpretation.item import Interpretation, Rejection, ShownItem
from dataset_scripts.interpretation.judge import Jury
from dataset_scripts.interpretation.polish import Polisher
from dataset_scripts.interpretation.review import Reviewer


@dataclass(frozen=True)
class Interpreter:
    """The four steps. Given the same answers, and so with a full cache, it always comes to the same end.

    Args:
        describe (`Describer`): writes.
        polish (`Polisher`): splits into statements.
        jury (`Jury`): votes on each.
        review (`Reviewer`): asks again in other words.
    """

    describe: Describer
    polish: Polisher
    jury: Jury
    review: Reviewer

    def __call__(self, item: ShownItem) -> Interpretation:
        """Interprets one item.

        Returns:
            [`Interpretation`]: with `error` set where a model gave no answer; then nothing is kept.

        Raises:
            ChatSetupError: a model cannot answer at all, so that every item would fail.
        """
        description, kept, rejections = "", [], []
        try:
            description, found = self.describe(item)
            rejections += found
            if description:
                statements, found = self.polish(item, description)
                rejections += found
                for statement in statements:
                    if self._holds(item, statement, rejections):
                        kept.append(statement)
        except ChatSetupError:
            raise
        except ChatError as error:
            return Interpretation(item.item_id, description, (), tuple(rejections), str(error), prompts.VERSION)
        return Interpretation(item.item_id, description, tuple(kept), tuple(rejections), None, prompts.VERSION)

    def _holds(self, item: ShownItem, statement: str, rejections: list[Rejection]) -> bool:
        for step in (self.jury, self.review):
            holds, found = step(item, statement)
            rejections += found
            if not holds:
                return False
        return True


def interpret_all(
    interpreter: Interpreter, items: Iterable[ShownItem], threads: int = 1, record: str | Path | None = None
) -> Iterator[Interpretation]:
    """Interprets items, several at a time, and hands them back in their order, none skipped.

    Args:
        interpreter (`Interpreter`): the steps.
        items (`Iterable[ShownItem]`): read as they are needed, at most twice `threads` ahead.
        threads (`int`, *optional*, defaults to 1): items at a time; the models' rate limits hold over all of them.
        record (`str` or `Path`, *optional*): JSONL file with everything that was written, kept and rejected, one line
            an item. Written anew by each run: a run that resumes another gets the old answers from the
            cache, and so writes the old lines again.

    Yields:
        [`Interpretation`]: one an item.

    Raises:
        ChatSetupError: as from [`Interpreter`]; items under way are finished first.
    """
    with contextlib.ExitStack() as stack:
        file = None
        if record is not None:
            Path(record).parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(record, "w", encoding="utf-8"))
        pool = ThreadPoolExecutor(threads)
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting: deque[Future[Interpretation]] = deque()
        source = iter(items)
        while True:
            while len(waiting) < 2 * threads and (item := next(source, None)) is not None:
                waiting.append(pool.submit(interpreter, item))
            if not waiting:
                return
            result = waiting.popleft().result()
            if file is not None:
                file.write(json.dumps(result.to_json(), ensure_ascii=False) + "\n")
                file.flush()
            yield result
