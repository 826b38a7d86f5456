"""Descriptions of quality, written by models and checked by models: describe, polish, judge, review.

Example:

    >>> from dataset_scripts.interpretation import InterpretationSettings, ShownItem, build_interpreter
    >>> local = {"kind": "openai", "base_url": "http://localhost:8000/v1", "model": "my-model"}
    >>> settings = InterpretationSettings(describer=local, judges=[local], cache="build/answers.sqlite")
    >>> interpreter, ledger = build_interpreter(settings)  # doctest: +SKIP
    >>> interpreter(ShownItem.from_pixels("photo-1", pixels)).kept  # doctest: +SKIP
    ('Fine grain covers the sky.',)
"""

from dataset_scripts.interpretation.cache import AnswerCache, CachedChat
from dataset_scripts.interpretation.chat import (
    ChatError,
    ChatModel,
    ChatRefusalError,
    ChatSetupError,
    Completion,
    Message,
    Sampling,
    Usage,
    encode_picture,
)
from dataset_scripts.interpretation.describe import Describer
from dataset_scripts.interpretation.interpret import Interpreter
from dataset_scripts.interpretation.item import Interpretation, Rejection, ShownItem
from dataset_scripts.interpretation.judge import Jury
from dataset_scripts.interpretation.ledger import Ledger, MeteredChat, Price
from dataset_scripts.interpretation.openai_chat import OpenAIChat
from dataset_scripts.interpretation.polish import Polisher
from dataset_scripts.interpretation.review import Reviewer
from dataset_scripts.interpretation.settings import InterpretationSettings, build_interpreter, chat_interpreter
from dataset_scripts.interpretation.transformers_chat import TransformersChat


__all__ = [
    "AnswerCache",
    "CachedChat",
    "ChatError",
    "ChatModel",
    "ChatRefusalError",
    "ChatSetupError",
    "Completion",
    "Describer",
    "Interpretation",
    "InterpretationSettings",
    "Interpreter",
    "ShownItem",
    "Jury",
    "Ledger",
    "Message",
    "MeteredChat",
    "OpenAIChat",
    "Polisher",
    "Price",
    "Rejection",
    "Reviewer",
    "Sampling",
    "TransformersChat",
    "Usage",
    "build_interpreter",
    "chat_interpreter",
    "encode_picture",
]
