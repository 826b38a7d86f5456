"""Ledger of the models' work: tokens, seconds and money, request by request and in sum."""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dataset_scripts.interpretation.chat import ChatModel, Completion, Message, Sampling


@dataclass(frozen=True)
class Price:
    """Price of a model, in any one currency.

    Args:
        prompt, completion (`float`): for a million tokens read, and written.
    """

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, answer: Completion) -> float:
        """Cost of one answer; 0 where it came from the cache."""
        if answer.cached:
            return 0.0
        usage = answer.usage
        return (self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens) / 1e6


@dataclass
class Totals:
    """Sums over the answers of one model: `answers` in all, `cached` of them free; the rest over the others."""

    answers: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 0
    seconds: float = 0.0
    cost: float = 0.0


class Ledger:
    """Adds up what answers took. Safe to share between threads.

    Args:
        path (`str` or `Path`, *optional*): JSONL file to which each answer is appended: when, which model, tokens,
            seconds, attempts, cost, cached.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.totals: dict[str, Totals] = {}
        self._lock = threading.Lock()
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, model: str, answer: Completion, price: Price) -> None:
        """Enters one answer."""
        cost = price.of(answer)
        with self._lock:
            totals = self.totals.setdefault(model, Totals())
            totals.answers += 1
            totals.cached += answer.cached
            if not answer.cached:
                totals.prompt_tokens += answer.usage.prompt_tokens
                totals.completion_tokens += answer.usage.completion_tokens
                totals.attempts += answer.usage.attempts
                totals.seconds += answer.usage.seconds
                totals.cost += cost
            if self.path is not None:
                entry = {"time": time.time(), "model": model, "cached": answer.cached, "cost": cost}
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**entry, **asdict(answer.usage)}) + "\n")


class MeteredChat:
    """A chat model whose answers are entered in a ledger. Put it outside the cache, so that kept answers show too.

    Args:
        model (`ChatModel`): who is asked.
        ledger (`Ledger`): where it is entered.
        price (`Price`, *optional*): by default free.
    """

    def __init__(self, model: ChatModel, ledger: Ledger, price: Price | None = None) -> None:
        self.model, self.ledger, self.price = model, ledger, price or Price()
        self.name = model.name

    def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answers like the model, and adds the cost to the ledger."""
        answer = self.model.complete(messages, sampling)
        self.ledger.add(self.name, answer, self.price)
        return answer
