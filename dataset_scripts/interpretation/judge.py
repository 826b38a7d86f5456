"""Step 3: judges vote on each statement, several rounds each; only a unanimous yes keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass

from dataset_scripts.interpretation import prompts
from dataset_scripts.interpretation.chat import ChatModel, Sampling
from dataset_scripts.interpretation.item import Rejection, ShownItem, Talk, rejected, show, yes_or_no


@dataclass(frozen=True)
class Jury:
    """Judges that must all agree.

    Args:
        judges (`Sequence[ChatModel]`): who votes; best of different makes, and none the describer.
        rounds (`int`, *optional*, defaults to 3): votes of each judge.
        temperature (`float`, *optional*, defaults to 0.7): above 0, so that a further round is a further look and not
            the same answer again.
        retries (`int`, *optional*, defaults to 2): further tries for a vote that is neither yes nor no.
        max_tokens (`int`, *optional*, defaults to 16): of a vote; more for models that think aloud first.

    Raises:
        ValueError: no judge, or no round.
    """

    judges: Sequence[ChatModel]
    rounds: int = 3
    temperature: float = 0.7
    retries: int = 2
    max_tokens: int = 16

    def __post_init__(self) -> None:
        if not self.judges or self.rounds < 1:
            raise ValueError(f"a jury needs a judge and a round, got {len(self.judges)} and {self.rounds}")

    def __call__(self, item: ShownItem, statement: str) -> tuple[bool, list[Rejection]]:
        """Votes on one statement. The first vote against ends it: the rest could not save the statement.

        Returns:
            `tuple`: whether every vote was yes, and what was rejected: answers that were no vote, and last the
            statement itself with the vote that failed it.

        Raises:
            ChatError: a judge gave no answer.
        """
        media = prompts.media_words(item.modality, len(item.pictures))
        question = prompts.JUDGE.format(media=media, statement=statement)
        useless: list[Rejection] = []
        for number in range(self.rounds):
            for judge in self.judges:
                talk = Talk(judge, show(item, question), Sampling(self.max_tokens, self.temperature, seed=number))
                vote, texts = talk.ask(yes_or_no, prompts.ANSWER_AGAIN, self.retries, whole=False)
                useless += rejected(texts, "judge", f"no vote, from {judge.name} in round {number + 1}")
                if not vote:
                    said = "says no" if vote is False else "does not vote"
                    reason = f"{judge.name} {said} in round {number + 1}"
                    return False, [*useless, Rejection(statement, "judge", reason)]
        return True, useless
