"""Interpreters, which the stage `interpret` asks for descriptions: given a picture or clip, they answer in texts.

A recipe names a factory and its arguments:

    interpret:
      interpreter: dataset_scripts.interpreters:chat_interpreter
      options: {describer: {...}, judges: [{...}], cache: build/answers.sqlite}
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from dataset_scripts.build_config import BuildError


class RejectedText(Protocol):
    """A text that did not pass.

    Attributes:
        text (`str`): as it stood.
        step (`str`): where it failed.
        reason (`str`): why.
    """

    text: str
    step: str
    reason: str


class Answer(Protocol):
    """Result for one item.

    Attributes:
        kept (`Sequence[str]`): descriptions that passed every check.
        rejected (`Sequence[RejectedText]`): every other text.
        error (`str` or `None`): why there is no answer; then nothing is kept.
    """

    kept: Sequence[str]
    rejected: Sequence[RejectedText]
    error: str | None


Interpreter = Callable[[str, np.ndarray], Answer]
"""(id of the version, RGB uint8 `[H, W, 3]` or `[T, H, W, 3]`) -> [`Answer`]. May be called from several threads."""


def chat_interpreter(**settings: Any) -> Interpreter:
    """The describer, polisher, judges and review of `dataset_scripts.interpretation`.

    Args:
        **settings: fields of `InterpretationSettings`.

    Raises:
        BuildError: the settings are wrong, or while it works a model cannot answer at all.
    """
    from dataset_scripts.interpretation import ChatSetupError, InterpretationSettings, ShownItem, build_interpreter

    try:
        interpreter, _ = build_interpreter(InterpretationSettings.from_dict(settings))
    except ValueError as error:
        raise BuildError(f"interpret: options: {error}") from error

    def interpret(version: str, pixels: np.ndarray) -> Answer:
        try:
            return interpreter(ShownItem.from_pixels(version, pixels))
        except ChatSetupError as error:
            raise BuildError(f"{error}\nThen run the same command again: finished shards are kept.") from error

    return interpret
