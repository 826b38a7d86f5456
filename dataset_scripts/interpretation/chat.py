"""Interface of describers and judges: a chat model that can see pictures."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from PIL import Image


class ChatError(RuntimeError):
    """A model gave no answer. Asking again later may help; the item is kept and says why."""


class ChatRefusalError(ChatError):
    """A model refuses this one question, such as a picture that it does not take. Asking again does not help."""


class ChatSetupError(ChatError):
    """A model cannot answer at all as it is set up: a wrong key, name or address. Asking again does not help."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Args:
        role (`str`): `"system"`, `"user"` or `"assistant"`.
        text (`str`): what is said.
        pictures (`tuple[bytes, ...]`): encoded pictures shown before the text, as from [`encode_picture`].
    """

    role: Literal["system", "user", "assistant"]
    text: str
    pictures: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Sampling:
    """Sampling of an answer.

    Args:
        max_tokens (`int`): longest answer.
        temperature (`float`): 0 takes the likeliest word each time.
        seed (`int`): another seed, another answer; also part of the key under which answers are kept.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Usage:
    """Cost of an answer.

    Args:
        prompt_tokens, completion_tokens (`int`): tokens read and written; 0 where the server does not say.
        seconds (`float`): from the first request to the answer, waits included.
        attempts (`int`): requests sent.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    attempts: int = 1


@dataclass(frozen=True)
class Completion:
    """An answer.

    Args:
        text (`str`): without white space around it.
        finish_reason (`str`): `"stop"`, or `"length"` where it was cut off at `max_tokens`.
        usage (`Usage`): what it took.
        cached (`bool`): it was kept from an earlier run and cost nothing now.
    """

    text: str
    finish_reason: str = "stop"
    usage: Usage = field(default_factory=Usage)
    cached: bool = False


class ChatModel(Protocol):
    """A model that answers a conversation with pictures in it.

    Attributes:
        name (`str`): the model and, where it matters, its revision: answers are kept under it.
    """

    name: str

    def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answers the last message.

        Raises:
            ChatError: no answer this time.
            ChatRefusalError: no answer to this question.
            ChatSetupError: no answer ever, as it is set up.
        """
        ...


def encode_picture(pixels: np.ndarray) -> bytes:
    """RGB uint8 `[H, W, 3]` -> PNG bytes: a model that judges quality must not see the traces of another codec."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def request_key(model: str, messages: Sequence[Message], sampling: Sampling) -> str:
    """SHA-256, in hex, of a model's name and everything it is asked; pictures count by their bytes."""
    turns = [[m.role, m.text, [hashlib.sha256(picture).hexdigest() for picture in m.pictures]] for m in messages]
    payload = [model, turns, sampling.max_tokens, sampling.temperature, sampling.seed]
    return hashlib.sha256(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
