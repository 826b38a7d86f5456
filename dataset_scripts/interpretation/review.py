"""Step 4: the describer is asked about its own statements in other words, and must not contradict itself."""

from dataclasses import dataclass

from dataset_scripts.interpretation import prompts
from dataset_scripts.interpretation.chat import ChatModel, Sampling
from dataset_scripts.interpretation.item import Rejection, ShownItem, Talk, rejected, show, yes_or_no


@dataclass(frozen=True)
class Reviewer:
    """Asks re-worded but equivalent questions, some of which a true statement answers with no.

    Args:
        model (`ChatModel`): the describer itself, for a self-review.
        retries (`int`, *optional*, defaults to 2): further tries for an answer that is neither yes nor no.
        max_tokens (`int`, *optional*, defaults to 16): of an answer; more for models that think aloud first.
    """

    model: ChatModel
    retries: int = 2
    max_tokens: int = 16

    def __call__(self, item: ShownItem, statement: str) -> tuple[bool, list[Rejection]]:
        """Reviews one statement.

        Returns:
            `tuple`: whether all answers speak for the statement, and what was rejected: answers that could not be
            used, and last the statement itself with the wording that failed it.

        Raises:
            ChatError: the model gave no answer.
        """
        media = prompts.media_words(item.modality, len(item.pictures))
        useless: list[Rejection] = []
        for number, (wording, expected) in enumerate(prompts.REVIEW, start=1):
            question = wording.format(media=media, statement=statement)
            talk = Talk(self.model, show(item, question), Sampling(self.max_tokens))
            answer, texts = talk.ask(yes_or_no, prompts.ANSWER_AGAIN, self.retries, whole=False)
            useless += rejected(texts, "review", f"neither yes nor no, to wording {number}")
            if answer is not expected:
                said = {True: "yes", False: "no", None: "nothing usable"}
                reason = f"wording {number}: the answer is {said[answer]}, not {said[expected]}"
                return False, [*useless, Rejection(statement, "review", reason)]
        return True, useless
