"""Items that are described, and the results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np

from dataset_scripts.annotators.temporal import even_indices
from dataset_scripts.interpretation.chat import ChatModel, Message, Sampling, encode_picture


Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ShownItem:
    """A picture or clip as the models see it.

    Args:
        item_id (`str`): names it in records and messages.
        modality (`str`): `"image"` or `"video"`.
        pictures (`tuple[bytes, ...]`): one encoded picture, or frames of the clip in order.
    """

    item_id: str
    modality: Literal["image", "video"]
    pictures: tuple[bytes, ...]

    @classmethod
    def from_pixels(cls, item_id: str, pixels: np.ndarray, max_frames: int = 8) -> "ShownItem":
        """Takes pixels.

        Args:
            item_id (`str`): names it.
            pixels (`np.ndarray`): RGB uint8, `[H, W, 3]` or `[T, H, W, 3]`.
            max_frames (`int`, *optional*, defaults to 8): frames shown of a clip, evenly chosen.

        Raises:
            ValueError: other pixels.
        """
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or not pixels.size:
            raise ValueError(
                f"{item_id}: expected RGB uint8 [H, W, 3] or [T, H, W, 3], got {pixels.dtype} {pixels.shape}"
            )
        if pixels.ndim == 3:
            return cls(item_id, "image", (encode_picture(pixels),))
        frames = pixels[even_indices(len(pixels), max_frames)]
        return cls(item_id, "video", tuple(encode_picture(frame) for frame in frames))


@dataclass(frozen=True)
class Rejection:
    """A text that was not kept.

    Args:
        text (`str`): the text as it stood.
        step (`str`): `"describe"`, `"polish"`, `"judge"` or `"review"`, or `"refused"` for a question that a model
            refuses.
        reason (`str`): why, in words.
    """

    text: str
    step: str
    reason: str


@dataclass(frozen=True)
class Interpretation:
    """Result for one item.

    Args:
        item_id (`str`): of the item.
        description (`str`): what the describer wrote; empty where it wrote nothing usable.
        kept (`tuple[str, ...]`): statements of one sentence that passed every step.
        rejected (`tuple[Rejection, ...]`): every other text.
        error (`str` or `None`): why the item is not finished (a model gave no answer): to be run again, which the
            cache makes cheap.
    """

    item_id: str
    description: str = ""
    kept: tuple[str, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    error: str | None = None


@dataclass
class Talk:
    """A question and what follows it until the answer can be used.

    Args:
        model (`ChatModel`): who is asked.
        messages (`list[Message]`): the conversation so far.
        sampling (`Sampling`): of each answer; its seed moves on when the model is asked again.
    """

    model: ChatModel
    messages: list[Message]
    sampling: Sampling = field(default_factory=Sampling)

    def ask(
        self, read: Callable[[str], Answer | None], again: str, retries: int, whole: bool = True
    ) -> tuple[Answer | None, list[str]]:
        """Asks, and asks again while the answer cannot be used.

        Args:
            read (`Callable`): makes the answer of a text, or `None` of one that cannot be used.
            again (`str`): what is said after such a text.
            retries (`int`): times it is said at most.
            whole (`bool`, *optional*, defaults to `True`): an answer that was cut off cannot be used.

        Returns:
            `tuple`: the answer, `None` if there was none, and the texts that could not be used.
        """
        useless: list[str] = []
        for attempt in range(retries + 1):
            answer = self.model.complete(
                self.messages, replace(self.sampling, seed=self.sampling.seed + 1000 * attempt)
            )
            used = None if whole and answer.finish_reason == "length" else read(answer.text)
            if used is not None:
                return used, useless
            useless.append(answer.text)
            # Some chat templates refuse an empty turn, and two turns of one side.
            said = Message("assistant", answer.text or "(nothing)")
            self.messages = [*self.messages, said, Message("user", again)]
        return None, useless


def show(item: ShownItem, text: str) -> list[Message]:
    """The pictures of an item with a text, as the one turn of a new conversation."""
    return [Message("user", text, item.pictures)]


def yes_or_no(text: str) -> bool | None:
    """Reads a verdict: `True` for yes, `False` for no, `None` where the answer begins with neither or holds both."""
    words = [word.strip("\"'*_.,:;!()").lower() for word in text.split()]
    if not words or words[0] not in ("yes", "no") or {"yes", "no"} <= set(words):
        return None
    return words[0] == "yes"


def rejected(texts: Sequence[str], step: str, reason: str) -> list[Rejection]:
    """One [`Rejection`] a text."""
    return [Rejection(text, step, reason) for text in texts]
