"""An interpreter made from settings, as a recipe states them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.build_config import BuildError
from dataset_scripts.interpretation.cache import AnswerCache, CachedChat
from dataset_scripts.interpretation.chat import ChatModel, ChatSetupError
from dataset_scripts.interpretation.describe import Describer
from dataset_scripts.interpretation.interpret import Interpreter
from dataset_scripts.interpretation.item import Interpretation, ShownItem
from dataset_scripts.interpretation.judge import Jury
from dataset_scripts.interpretation.ledger import Ledger, MeteredChat, Price
from dataset_scripts.interpretation.openai_chat import OpenAIChat
from dataset_scripts.interpretation.polish import Polisher
from dataset_scripts.interpretation.review import Reviewer
from dataset_scripts.interpretation.transformers_chat import TransformersChat


CLIENTS = {"openai": OpenAIChat, "transformers": TransformersChat}
"""Kinds of model, by the name settings use."""


@dataclass(frozen=True)
class InterpretationSettings:
    """Models of the interpretation and their settings. Unknown keys are errors.

    A model is a mapping: `kind` (`openai` or `transformers`), the arguments of that client, and where it costs money
    `price: {prompt, completion}` for a million tokens.

    Args:
        describer (`dict`): who writes, and reviews itself.
        judges (`list[dict]`): who votes.
        polisher (`dict`, *optional*): who splits; by default the describer.
        rounds (`int`, *optional*, defaults to 3): votes of each judge.
        cache (`str` or `Path`, *optional*, defaults to `"answers.sqlite"`): where answers are kept.
        ledger (`str` or `Path`, *optional*): JSONL file for tokens and costs.
    """

    describer: dict[str, Any]
    judges: list[dict[str, Any]]
    polisher: dict[str, Any] | None = None
    rounds: int = 3
    cache: str | Path = "answers.sqlite"
    ledger: str | Path | None = None

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "InterpretationSettings":
        """Takes settings as YAML gives them.

        Raises:
            ValueError: an unknown key, or one that is missing.
        """
        known = {entry.name for entry in fields(cls)}
        if unknown := set(settings) - known:
            raise ValueError(
                f"unknown keys {sorted(unknown)} in the settings of interpretation; known: {sorted(known)}"
            )
        if missing := {"describer", "judges"} - set(settings):
            raise ValueError(f"the settings of interpretation lack {sorted(missing)}")
        return cls(**settings)


def build_model(settings: Mapping[str, Any], cache: AnswerCache, ledger: Ledger) -> ChatModel:
    """Makes one model of its settings, with cache and ledger around it.

    Raises:
        ValueError: an unknown kind, or arguments its client does not take.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f"a model is a mapping with a kind and the arguments of its client, got {settings!r}")
    options = dict(settings)
    kind, price = options.pop("kind", None), options.pop("price", {})
    if kind not in CLIENTS:
        raise ValueError(f"a model needs a kind of {sorted(CLIENTS)}, got {kind!r}")
    try:
        client, priced = CLIENTS[kind](**options), Price(**price)
    except TypeError as error:
        raise ValueError(f"settings of a model of kind {kind!r}: {error}") from error
    return MeteredChat(CachedChat(client, cache), ledger, priced)


def build_interpreter(settings: InterpretationSettings) -> tuple[Interpreter, Ledger]:
    """Makes the whole. It holds locks and connections: processes make their own of the same settings, and share the
    cache through its file.

    Returns:
        `tuple`: the interpreter, and the ledger that its models enter their answers in.

    Raises:
        ValueError: see [`build_model`] and `Jury`.
    """
    cache, ledger = AnswerCache(settings.cache), Ledger(settings.ledger)
    describer = build_model(settings.describer, cache, ledger)
    polisher = describer if settings.polisher is None else build_model(settings.polisher, cache, ledger)
    judges = [build_model(judge, cache, ledger) for judge in settings.judges]
    jury = Jury(judges, settings.rounds)
    return Interpreter(Describer(describer), Polisher(polisher), jury, Reviewer(describer)), ledger


def chat_interpreter(**settings: Any) -> Callable[[str, np.ndarray], Interpretation]:
    """Makes the interpreter that a recipe of `dataset_scripts build` names:

        interpret:
          interpreter: dataset_scripts.interpretation:chat_interpreter
          options: {describer: {...}, judges: [{...}], cache: build/answers.sqlite}

    Args:
        **settings: fields of [`InterpretationSettings`].

    Returns:
        `Callable`: of the id of a version and its pixels, RGB uint8 `[H, W, 3]` or `[T, H, W, 3]`; threads may
            share it.

    Raises:
        BuildError: the settings are wrong, or while it works a model cannot answer at all.
    """
    try:
        interpreter, _ = build_interpreter(InterpretationSettings.from_dict(settings))
    except ValueError as error:
        raise BuildError(f"interpret: options: {error}") from error

    def interpret(version: str, pixels: np.ndarray) -> Interpretation:
        try:
            return interpreter(ShownItem.from_pixels(version, pixels))
        except ChatSetupError as error:
            raise BuildError(f"{error}\nThen run the same command again: finished shards are kept.") from error

    return interpret
