"""Step 1: a model writes what it sees of an item's technical quality."""

from dataclasses import dataclass

from dataset_scripts.interpretation import prompts
from dataset_scripts.interpretation.chat import ChatModel, Sampling
from dataset_scripts.interpretation.item import Rejection, ShownItem, Talk, rejected, show


@dataclass(frozen=True)
class Describer:
    """Writes descriptions.

    Args:
        model (`ChatModel`): who writes.
        max_tokens (`int`, *optional*, defaults to 256): of a description; one that is cut off is not used.
        retries (`int`, *optional*, defaults to 2): further tries for a description that cannot be used.
    """

    model: ChatModel
    max_tokens: int = 256
    retries: int = 2

    def __call__(self, item: ShownItem) -> tuple[str, list[Rejection]]:
        """Describes one item.

        Returns:
            `tuple`: the description, empty if there is none, and what could not be used.

        Raises:
            ChatError: the model gave no answer.
        """
        motion = prompts.MOTION if item.modality == "video" else ""
        question = prompts.DESCRIBE.format(media=prompts.media_words(item.modality, len(item.pictures)), motion=motion)
        talk = Talk(self.model, show(item, question), Sampling(self.max_tokens))
        text, useless = talk.ask(lambda answer: answer or None, question, self.retries)
        return text or "", rejected(useless, "describe", "empty or cut off")
