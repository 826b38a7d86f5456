"""Step 2: a description becomes statements of one sentence; what says nothing is dropped."""

import json
import re
from dataclasses import dataclass

from dataset_scripts.interpretation import prompts
from dataset_scripts.interpretation.chat import ChatModel, Message, Sampling
from dataset_scripts.interpretation.item import Rejection, ShownItem, Talk, rejected


MAX_WORDS = 40
"""Longest statement, in words."""

# A statement made of these alone says nothing that can be checked.
_EMPTY_WORDS = frozenset(
    "a an the this that it its is are was be been has have looks look seems appears appear very quite rather fairly "
    "really generally general overall all in of and with but for to as on at not no so visual technical visually "
    "technically image picture photo photograph video clip footage frame frames quality good great excellent fine "
    "nice decent high bad poor low fair average acceptable okay ok moderate medium satisfactory pleasing well better "
    "best worse worst level impression standard".split()
)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")


def read_list(text: str) -> list[str] | None:
    """Finds the JSON list of strings in an answer, which may stand in a code fence or between words.

    Returns:
        `list[str]` or `None`: the strings without white space around them, empty ones skipped; `None` if there is no
        such list.
    """
    start, end = text.find("["), text.rfind("]")
    try:
        found = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except ValueError:
        return None
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        return None
    return [entry.strip() for entry in found if entry.strip()]


def objection(statement: str) -> str | None:
    """Explains why a text is no statement, or `None`: it has to be one sentence, short, and say something definite."""
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+", statement)
    if not words:
        return "no words"
    if _SENTENCE_END.search(statement):
        return "more than one sentence"
    if len(words) > MAX_WORDS:
        return f"{len(words)} words, more than {MAX_WORDS}"
    if all(word.lower() in _EMPTY_WORDS for word in words):
        return "empty phrase"
    return None


@dataclass(frozen=True)
class Polisher:
    """Splits descriptions into statements.

    Args:
        model (`ChatModel`): who rewrites; sees the text only.
        max_tokens (`int`, *optional*, defaults to 512): of the list.
        retries (`int`, *optional*, defaults to 2): further tries for an answer that is no list.
    """

    model: ChatModel
    max_tokens: int = 512
    retries: int = 2

    def __call__(self, item: ShownItem, description: str) -> tuple[list[str], list[Rejection]]:
        """Polishes the description of one item.

        Returns:
            `tuple`: statements of one sentence, each once, and what was dropped: the whole description where no list
            came.

        Raises:
            ChatError: the model gave no answer.
        """
        media = prompts.media_words(item.modality, len(item.pictures))
        question = prompts.POLISH.format(media=media, description=description)
        talk = Talk(self.model, [Message("user", question)], Sampling(self.max_tokens))
        found, useless = talk.ask(read_list, prompts.POLISH_AGAIN, self.retries)
        dropped = rejected(useless, "polish", "not a JSON list of strings")
        if found is None:
            return [], [*dropped, Rejection(description, "polish", f"no list in {len(useless)} tries")]
        kept: list[str] = []
        for statement in found:
            seen = statement.lower() in (other.lower() for other in kept)
            reason = "said already" if seen else objection(statement)
            if reason is None:
                kept.append(statement)
            else:
                dropped.append(Rejection(statement, "polish", reason))
        return kept, dropped
