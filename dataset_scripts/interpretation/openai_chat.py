"""Any endpoint that speaks the chat/completions protocol of OpenAI: vLLM, SGLang, llama.cpp, commercial ones.

Example:

    >>> from dataset_scripts.interpretation import Message, OpenAIChat, Sampling
    >>> judge = OpenAIChat("http://localhost:8000/v1", "my-model")
    >>> judge.complete([Message("user", "Is it sharp?", (png,))], Sampling()).text  # doctest: +SKIP
    'Yes.'
"""

import base64
import http.client
import json
import logging
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from dataset_scripts.interpretation.chat import ChatError, ChatSetupError, Completion, Message, Sampling, Usage


logger = logging.getLogger(__name__)

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_READ_BYTES = 1 << 16
_MAX_ANSWER_BYTES = 1 << 24


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: following it would hand the key to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


class _TryAgain(Exception):
    """This attempt failed in a way that may pass; `wait_s` is how long the server asked to wait, if it did."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class RateLimit:
    """Lets requests begin at an even pace, over all threads that share it.

    Args:
        per_minute (`float`, *optional*): requests a minute; by default no limit. Other processes are not counted:
            give each its share.
    """

    def __init__(self, per_minute: float | None = None) -> None:
        if per_minute is not None and per_minute <= 0:
            raise ValueError(f"per_minute must be above 0, got {per_minute}")
        self._gap_s = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Returns when the next request may begin."""
        with self._lock:
            start = max(time.monotonic(), self._next)
            self._next = start + self._gap_s
        time.sleep(max(0.0, start - time.monotonic()))


class OpenAIChat:
    """A model behind `BASE_URL/chat/completions`. Safe to share between threads.

    A request that fails in a way that may pass (no connection, time-out, cut connection, 408, 409, 425, 429, 5xx, an
    answer that is not of the protocol) is sent again after `backoff_s`, twice that, and so on, half of it at random,
    or after the time the server names in `Retry-After`. Other refusals end at once: a wrong key, name or address as
    `ChatSetupError`, all else, such as a picture the server does not like, as `ChatError` of that one question.

    Args:
        base_url (`str`): up to and including the version, such as `http://localhost:8000/v1`.
        model (`str`): name the server knows it by.
        api_key_variable (`str`, *optional*, defaults to `"OPENAI_API_KEY"`): environment variable with the key, read
            at each request; without it none is sent. The key is never stored, logged or shown.
        per_minute (`float`, *optional*): see [`RateLimit`].
        timeout_s (`float`, *optional*, defaults to 120): for one whole request.
        attempts (`int`, *optional*, defaults to 6): requests for one answer at most.
        backoff_s (`float`, *optional*, defaults to 1): wait before the second attempt.
        max_wait_s (`float`, *optional*, defaults to 120): longest wait; a server that asks for more ends the try.
        extra (`dict`, *optional*): more fields for the request body, such as `{"top_p": 0.9}`. A value of `None` takes
            a field out: `{"seed": None}` for servers that refuse seeds.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key_variable: str = "OPENAI_API_KEY",
        per_minute: float | None = None,
        timeout_s: float = 120.0,
        attempts: int = 6,
        backoff_s: float = 1.0,
        max_wait_s: float = 120.0,
        extra: dict[str, Any] | None = None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must begin with http:// or https://, got {base_url!r}")
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {attempts}")
        self.url = base_url.rstrip("/") + "/chat/completions"
        self.model = model
        self.extra = dict(extra or {})
        self.name = f"{model}@{base_url.rstrip('/')}" + (f" {json.dumps(extra, sort_keys=True)}" if extra else "")
        self.api_key_variable = api_key_variable
        self.timeout_s, self.attempts = timeout_s, attempts
        self.backoff_s, self.max_wait_s = backoff_s, max_wait_s
        self._limit = RateLimit(per_minute)

    def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Asks the server.

        Raises:
            ChatError: every attempt failed, or the server refuses this request; the message has the last reason.
            ChatSetupError: the server refuses every request (wrong key, model or address).
        """
        body = json.dumps(self._payload(messages, sampling)).encode()
        start = time.monotonic()
        for attempt in range(1, self.attempts + 1):
            self._limit.wait()
            try:
                text, finish_reason, tokens = parse_answer(self._post(body))
            except _TryAgain as error:
                wait_s = error.wait_s if error.wait_s is not None else self._backoff(attempt)
                if attempt == self.attempts or wait_s > self.max_wait_s:
                    raise ChatError(f"{self.model} gave no answer in {attempt} attempts: {error}") from error
                logger.info("%s: %s; again in %.1f s", self.model, error, wait_s)
                time.sleep(wait_s)
            else:
                usage = Usage(*tokens, time.monotonic() - start, attempt)
                return Completion(text, finish_reason, usage)
        raise AssertionError("the last attempt returns or raises")

    def _payload(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        payload = {
            "model": self.model,
            "messages": [{"role": message.role, "content": _content(message)} for message in messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            **self.extra,
        }
        return {key: value for key, value in payload.items() if value is not None}

    def _backoff(self, attempt: int) -> float:
        longest = min(self.max_wait_s, self.backoff_s * 2 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0)  # many clients refused at once must not come back at once

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "modeling-vital"}
        key = os.environ.get(self.api_key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        deadline = time.monotonic() + self.timeout_s
        request = urllib.request.Request(self.url, body, headers, method="POST")
        try:
            with _OPENER.open(request, timeout=self.timeout_s) as response:
                return _read(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, key) from error
        except TimeoutError as error:
            raise _TryAgain(f"no answer in {self.timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:  # no connection, or one that was cut
            raise _TryAgain(f"{type(error).__name__}: {error}") from error

    def _refusal(self, error: urllib.error.HTTPError, key: str | None) -> Exception:
        try:
            said = error.read(2000).decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException):
            said = ""
        if key:
            said = said.replace(key, "***")  # some servers repeat the key they refuse
        reason = f"HTTP {error.code} {error.reason}" + (f": {said}" if said else "")
        if error.code in _PASSING:
            return _TryAgain(reason, retry_after_s(error.headers.get("Retry-After")))
        hints = {
            401: f"the key in {self.api_key_variable} is missing or wrong",
            403: f"the key in {self.api_key_variable} may not use it",
            404: "the address or the model's name is wrong",
        }
        if error.code in range(300, 400):
            hints[error.code] = f"the address has moved to {error.headers.get('Location')}"
        if error.code in hints:
            return ChatSetupError(f"{self.model} at {self.url}: {hints[error.code]} ({reason})")
        return ChatError(f"{self.model} refuses the request: {reason}")


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.pictures:
        return message.text
    urls = (f"data:{_mime(picture)};base64,{base64.b64encode(picture).decode()}" for picture in message.pictures)
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [*parts, {"type": "text", "text": message.text}]


def _mime(picture: bytes) -> str:
    return "image/jpeg" if picture.startswith(b"\xff\xd8") else "image/png"


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Reads a body within the time left: a socket's own time-out starts anew with every byte."""
    parts, size = [], 0
    while part := response.read1(_READ_BYTES):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise TimeoutError
        if size > _MAX_ANSWER_BYTES:
            raise _TryAgain(f"the answer is larger than {_MAX_ANSWER_BYTES} bytes")
    if response.length:  # read1() does not mind a connection cut before the announced length
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def retry_after_s(header: str | None) -> float | None:
    """Seconds a `Retry-After` header asks to wait, given as seconds or as a date; `None` without a readable one."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def parse_answer(body: bytes) -> tuple[str, str, tuple[int, int]]:
    """Takes a chat/completions answer apart.

    Returns:
        `tuple`: text, finish reason, and (prompt tokens, completion tokens).

    Raises:
        _TryAgain: it is not JSON, or lacks the text.
    """
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise _TryAgain(f"the answer is not JSON: {body[:80]!r}") from error
    try:
        choice = answer["choices"][0]
        text = choice["message"]["content"]
        finish_reason = choice.get("finish_reason") or "stop"
        usage = answer.get("usage") or {}
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise _TryAgain(f"the answer lacks choices[0].message.content: {body[:80]!r}") from error
    if not isinstance(text, str):
        raise _TryAgain(f"the answer has no text: {body[:80]!r}")
    return text.strip(), str(finish_reason), tokens
