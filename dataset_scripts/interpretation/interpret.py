"""Describe, polish, judge, review: the four steps for one item."""

from dataclasses import dataclass

from dataset_scripts.interpretation.chat import ChatError, ChatRefusalError, ChatSetupError
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
            [`Interpretation`]: with `error` set where a model gave no answer; then nothing is kept, nor where one
                refuses a question.

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
        except ChatRefusalError as error:
            rejections.append(Rejection(description, "refused", str(error)))
            return Interpretation(item.item_id, description, (), tuple(rejections))
        except ChatError as error:
            return Interpretation(item.item_id, description, (), tuple(rejections), str(error))
        return Interpretation(item.item_id, description, tuple(kept), tuple(rejections))

    def _holds(self, item: ShownItem, statement: str, rejections: list[Rejection]) -> bool:
        for step in (self.jury, self.review):
            holds, found = step(item, statement)
            rejections += found
            if not holds:
                return False
        return True
