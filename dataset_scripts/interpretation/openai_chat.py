"""Any endpoint that speaks the chat/completions protocol of OpenAI: vLLM, SGLang, llama.cpp, commercial ones.

Example:

    >>> from dataset_scripts.interpretation import Message, OpenAIChat, Sampling
    >>> judge = OpenAIChat("http://localhost:8000/v1", "my-model")
    >>> judge.complete([Message("user", "Is it sharp?", (png,))], Sampling()).text  # doctest: +SKIP
    'Yes.'
"""

import base64
import json
import os
import threading
import time
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from dataset_scripts.interpretation.chat import (
    ChatError,
    ChatRefusalError,
    ChatSetupError,
    Completion,
    Message,
    Sampling,
    Usage,
)
from modeling_vital.extras import require


if TYPE_CHECKING:
    import ssl

    import httpx2
    import openai

_MAX_ANSWER_BYTES = 1 << 24
_MOST_SAID = 2000  # characters of a refusal that are shown


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
    """A model behind `BASE_URL/chat/completions`, through the `openai` client. Safe to share between threads.

    A request that fails in a way that may pass (no connection, time-out, cut connection, 408, 409, 429, 5xx, an answer
    that is not of the protocol) is sent again by the client: after half a second, twice that, and so on up to 8, or
    after the time that the server names in `Retry-After`, up to two minutes. Other refusals end at once: a wrong key,
    name or address as `ChatSetupError`, all else, such as a picture the server does not like, as `ChatRefusalError` of
    that one question. Redirects are not followed: they would hand pictures and key to another server.

    Args:
        base_url (`str`): up to and including the version, such as `http://localhost:8000/v1`.
        model (`str`): name the server knows it by.
        api_key_variable (`str`, *optional*, defaults to `"OPENAI_API_KEY"`): environment variable with the key, read
            at each request; without it none is sent. The key is never stored, logged or shown.
        per_minute (`float`, *optional*): see [`RateLimit`].
        timeout_s (`float`, *optional*, defaults to 120): for one whole request.
        attempts (`int`, *optional*, defaults to 6): requests for one answer at most.
        extra (`dict`, *optional*): more fields for the request body, such as `{"top_p": 0.9}`. A value of `None` takes
            a field out: `{"seed": None}` for servers that refuse seeds.

    Raises:
        ChatSetupError: the package `openai` is missing.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key_variable: str = "OPENAI_API_KEY",
        per_minute: float | None = None,
        timeout_s: float = 120.0,
        attempts: int = 6,
        extra: dict[str, Any] | None = None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must begin with http:// or https://, got {base_url!r}")
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {attempts}")
        self.model = model
        self.url = base_url.rstrip("/")
        self.extra = dict(extra or {})
        self.name = f"{model}@{self.url}" + (f" {json.dumps(extra, sort_keys=True)}" if extra else "")
        self.api_key_variable = api_key_variable
        self.timeout_s = timeout_s
        self._limit = RateLimit(per_minute)
        self._client = self._open(attempts)

    def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Asks the server.

        Raises:
            ChatError: every attempt failed; the message has the last reason.
            ChatRefusalError: the server refuses this request.
            ChatSetupError: the server refuses every request (wrong key, model or address).
        """
        import openai

        start = time.monotonic()
        try:
            raw = self._client.chat.completions.with_raw_response.create(**self._payload(messages, sampling))
        except openai.APIStatusError as error:
            raise self._refusal(error) from error
        except openai.APITimeoutError as error:
            raise ChatError(self._no_answer(error, f"no answer in {self.timeout_s:g} s")) from error
        except openai.APIConnectionError as error:
            reason = error.__cause__ or error
            raise ChatError(self._no_answer(error, f"{type(reason).__name__}: {reason}")) from error
        text, finish_reason, tokens = parse_answer(raw.content)
        return Completion(text, finish_reason, Usage(*tokens, time.monotonic() - start, raw.retries_taken + 1))

    def _open(self, attempts: int) -> "openai.OpenAI":
        openai = require("openai", "openai", ChatSetupError)
        hooks = {"request": [self._before], "response": [self._after]}
        return openai.OpenAI(
            base_url=self.url,
            api_key="read at each request",  # see `_before`
            timeout=self.timeout_s,
            max_retries=attempts - 1,
            http_client=openai.DefaultHttpxClient(follow_redirects=False, event_hooks=hooks, verify=_tls_context()),
        )

    def _before(self, request: "httpx2.Request") -> None:
        """Waits for the turn of a request, and gives it the key."""
        self._limit.wait()
        request.extensions["began_s"] = time.monotonic()
        request.headers.pop("Authorization", None)
        if key := os.environ.get(self.api_key_variable):
            request.headers["Authorization"] = f"Bearer {key}"

    def _after(self, response: "httpx2.Response") -> None:
        """Reads an answer within its bounds; one that is not of the protocol is a failure that the client repeats."""
        import httpx2

        from dataset_scripts.interpretation.bounded_stream import BoundedStream

        deadline_s = response.request.extensions["began_s"] + self.timeout_s
        response.stream = BoundedStream(response, deadline_s, _MAX_ANSWER_BYTES)
        response.read()
        if response.is_success:
            try:
                parse_answer(response.content)
            except ValueError as error:
                raise httpx2.DecodingError(str(error), request=response.request) from error

    def _payload(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        payload = {
            "model": self.model,
            "messages": [{"role": message.role, "content": _content(message)} for message in messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
        }
        kept = {key: value for key, value in payload.items() if self.extra.get(key, value) is not None}
        return {**kept, "extra_body": {key: value for key, value in self.extra.items() if value is not None}}

    def _no_answer(self, error: "openai.APIError", reason: str) -> str:
        attempts = int(error.request.headers.get("x-stainless-retry-count", 0)) + 1
        return f"{self.model} gave no answer in {attempts} attempts: {reason}"

    def _refusal(self, error: "openai.APIStatusError") -> ChatError:
        response = error.response
        said = response.text[:_MOST_SAID].strip()
        if key := os.environ.get(self.api_key_variable):
            said = said.replace(key, "***")  # some servers repeat the key they refuse
        reason = f"HTTP {error.status_code} {response.reason_phrase}" + (f": {said}" if said else "")
        if error.status_code in (408, 409, 429) or error.status_code >= 500:
            return ChatError(self._no_answer(error, reason))
        hints = {
            401: f"the key in {self.api_key_variable} is missing or wrong",
            403: f"the key in {self.api_key_variable} may not use it",
            404: "the address or the model's name is wrong",
        }
        if response.is_redirect:
            hints[error.status_code] = f"the address has moved to {response.headers.get('Location')}"
        if error.status_code in hints:
            return ChatSetupError(f"{self.model} at {self.url}: {hints[error.status_code]} ({reason})")
        return ChatRefusalError(f"{self.model} refuses the request: {reason}")


@cache
def _tls_context() -> "ssl.SSLContext":
    """The client's own settings of TLS, for all clients: the certificates take 50 ms to read."""
    import httpx2

    return httpx2.create_ssl_context()


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.pictures:
        return message.text
    urls = (f"data:{_mime(picture)};base64,{base64.b64encode(picture).decode()}" for picture in message.pictures)
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [*parts, {"type": "text", "text": message.text}]


def _mime(picture: bytes) -> str:
    return "image/jpeg" if picture.startswith(b"\xff\xd8") else "image/png"


def parse_answer(body: bytes) -> tuple[str, str, tuple[int, int]]:
    """Takes a chat/completions answer apart. The client's own types take anything, and say nothing of what is missing.

    Returns:
        `tuple`: text, finish reason, and (prompt tokens, completion tokens).

    Raises:
        ValueError: it is not JSON, or lacks the text.
    """
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise ValueError(f"the answer is not JSON: {body[:80]!r}") from error
    try:
        choice = answer["choices"][0]
        text = choice["message"]["content"]
        finish_reason = choice.get("finish_reason") or "stop"
        usage = answer.get("usage") or {}
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"the answer lacks choices[0].message.content: {body[:80]!r}") from error
    if not isinstance(text, str):
        raise ValueError(f"the answer has no text: {body[:80]!r}")
    return text.strip(), str(finish_reason), tokens
