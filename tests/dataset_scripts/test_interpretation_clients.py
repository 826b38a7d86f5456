"""Chat clients against a real local server and a real model; cache, ledger and rate limit."""

import base64
import io
import json
import multiprocessing
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from jinja2 import TemplateError
from PIL import Image
from safetensors.torch import save_file

from dataset_scripts.interpretation import (
    AnswerCache,
    CachedChat,
    ChatError,
    ChatRefusalError,
    ChatSetupError,
    Completion,
    Ledger,
    Message,
    MeteredChat,
    OpenAIChat,
    Price,
    Sampling,
    TransformersChat,
    Usage,
    encode_picture,
)
from dataset_scripts.interpretation.chat import request_key
from dataset_scripts.interpretation.openai_chat import RateLimit
from modeling_vital import zoo
from tests.fixtures.chat_server import answer, drip, hang_up, raw, refuse, serve, slow
from tests.fixtures.tiny_llava import tiny_llava


PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
QUESTION = [Message("user", "Is it sharp?", (encode_picture(PIXELS),))]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Waits of a hundredth of the client's own."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.005)


def client(server, **options) -> OpenAIChat:
    return OpenAIChat(server.url, "m", **{"timeout_s": 5, **options})


# --- the protocol ---------------------------------------------------------------------------------------------------


def test_a_picture_and_a_question_go_out_and_an_answer_comes_back(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret-123")
    with serve([answer("  Yes, it is.\n", usage={"prompt_tokens": 321, "completion_tokens": 5})]) as server:
        chat = client(server, api_key_variable="SOME_KEY", extra={"top_p": 0.9, "seed": None})
        found = chat.complete([Message("system", "Be brief."), *QUESTION], Sampling(64, 0.7, seed=3))
    assert (found.text, found.finish_reason, found.cached) == ("Yes, it is.", "stop", False)
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.attempts) == (321, 5, 1)
    (request,) = server.requests
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == "Bearer secret-123"
    assert {key: request[key] for key in ("model", "max_tokens", "temperature", "top_p")} == {
        "model": "m", "max_tokens": 64, "temperature": 0.7, "top_p": 0.9,
    }  # fmt: skip
    assert "seed" not in request
    assert request["messages"][0] == {"role": "system", "content": "Be brief."}
    picture, text = request["messages"][1]["content"]
    assert text == {"type": "text", "text": "Is it sharp?"}
    head, _, data = picture["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), PIXELS)
    assert "secret" not in repr(vars(chat))


def test_a_seed_goes_out_and_no_key_without_one(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serve([answer("ok", usage={})]) as server:
        found = client(server).complete(QUESTION, Sampling(seed=7))
    assert server.requests[0]["seed"] == 7 and "Authorization" not in server.headers[0]
    assert found.usage.prompt_tokens == 0


FAILURES = {
    "429": refuse(429),
    "500": refuse(500),
    "503": refuse(503),
    "not JSON": raw(b"<html>Bad gateway</html>"),
    "JSON cut off": raw(b'{"choices": [{"message": {"con'),
    "no choices": raw(b'{"choices": []}'),
    "no content": raw(b'{"choices": [{"message": {"role": "assistant"}}]}'),
    "content is null": raw(b'{"choices": [{"message": {"content": null}}]}'),
    "not an object": raw(b"[1, 2]"),
    "body cut off": raw(b'{"choices": [', announced=500),
    "hung up": hang_up(),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_that_may_pass_is_tried_again(name):
    with serve([FAILURES[name], FAILURES[name], answer("at last")]) as server:
        found = client(server).complete(QUESTION, Sampling())
    assert found.text == "at last" and found.usage.attempts == 3 and len(server.requests) == 3
    assert server.requests[0] == server.requests[2]


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_that_stays_ends_with_its_reason(name):
    with serve([FAILURES[name]]) as server:
        with pytest.raises(ChatError, match="2 attempts: ") as caught:
            client(server, attempts=2).complete(QUESTION, Sampling())
    assert not isinstance(caught.value, ChatSetupError | ChatRefusalError) and len(server.requests) == 2


@pytest.mark.parametrize("reply", [slow(60.0), drip(0.05, 1200)], ids=["silent", "dripping"])
def test_a_time_out_holds_for_the_whole_request(reply):
    with serve([reply]) as server:
        start = time.monotonic()
        with pytest.raises(ChatError, match="2 attempts: .* 0.3 s"):
            client(server, timeout_s=0.3, attempts=2).complete(QUESTION, Sampling())
        assert time.monotonic() - start < 20
    assert len(server.requests) == 2


def test_nobody_there():
    with serve([answer("")]) as server:
        url = server.url
    with pytest.raises(ChatError, match="in 2 attempts"):
        OpenAIChat(url, "m", attempts=2).complete(QUESTION, Sampling())


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "OPENAI_API_KEY .*wrong.* 401"),
        (403, "OPENAI_API_KEY .* 403"),
        (404, "model.* 404"),
    ],
)
def test_a_wrong_setup_is_not_tried_again(status, hint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-123")
    with serve([refuse(status)]) as server:
        with pytest.raises(ChatSetupError, match=hint) as caught:
            client(server).complete(QUESTION, Sampling())
    assert len(server.requests) == 1
    assert f"made to fail with {status}" in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_question_is_not_tried_again_and_is_not_the_setup(status):
    with serve([refuse(status)]) as server:
        with pytest.raises(ChatRefusalError, match=f"HTTP {status}"):
            client(server).complete(QUESTION, Sampling())
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_does_not_take_the_key_elsewhere(status, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-123")
    with (
        serve([answer("thanks for the key")]) as elsewhere,
        serve([refuse(status, {"Location": elsewhere.url})]) as server,
    ):
        with pytest.raises(ChatSetupError, match="moved.* http://127"):
            client(server).complete(QUESTION, Sampling())
        assert elsewhere.requests == [] and len(server.requests) == 1


def test_a_key_the_server_repeats_is_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-123")
    with serve([raw(b"wrong key: secret-123", 401)]) as server:
        with pytest.raises(ChatSetupError, match=r" 401 .*\*\*\*"):
            client(server).complete(QUESTION, Sampling())


def test_retry_after_is_honoured():
    with serve([refuse(429, {"Retry-After": "0.4"}), answer("now")]) as server:
        assert client(server).complete(QUESTION, Sampling()).text == "now"
    assert server.times[1] - server.times[0] >= 0.4


def test_a_wait_that_is_too_long_ends_the_try():
    with serve([refuse(429, {"Retry-After": "3600"})]) as server:
        with pytest.raises(ChatError, match="in 1 attempts: HTTP 429"):
            client(server).complete(QUESTION, Sampling())
    assert len(server.requests) == 1


def test_an_answer_without_end_is_not_read_to_it(monkeypatch):
    monkeypatch.setattr("dataset_scripts.interpretation.openai_chat._MAX_ANSWER_BYTES", 1000)
    with serve([answer("x" * 2000)]) as server:
        with pytest.raises(ChatError, match="2 attempts: .* 1000 bytes"):
            client(server, attempts=2).complete(QUESTION, Sampling())


def test_the_package_openai_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ChatSetupError, match=r"pip install \"modeling-vital\[openai\]\""):
        OpenAIChat("http://localhost:8000/v1", "m")


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="http://"):
        OpenAIChat("localhost:8000", "m")
    with pytest.raises(ValueError, match="attempts"):
        OpenAIChat("http://localhost", "m", attempts=0)
    with pytest.raises(ValueError, match="per_minute"):
        RateLimit(0)


def test_the_rate_limit_holds_over_threads_and_retries():
    with serve([refuse(500), answer("ok")]) as server:
        chat = client(server, per_minute=1200)  # one in 50 ms
        start = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda seed: chat.complete(QUESTION, Sampling(seed=seed)).text, range(8)))
    assert found == ["ok"] * 8 and len(server.times) == 9
    # The n-th request may come late on a busy machine, but never before its turn.
    assert all(arrived - start >= 0.05 * n for n, arrived in enumerate(sorted(server.times)))


def test_without_a_limit_threads_do_not_wait_for_each_other():
    together = threading.Barrier(6, timeout=30)  # answers only when six requests are under way at once

    def wait_for_the_others(handler):
        together.wait()
        answer("met")(handler)

    with serve([wait_for_the_others]) as server:
        chat = client(server, timeout_s=60)
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda seed: chat.complete(QUESTION, Sampling(seed=seed)).text, range(6)))
    assert found == ["met"] * 6


# --- cache and ledger -----------------------------------------------------------------------------------------------


def test_a_kept_answer_makes_no_request(tmp_path):
    path = tmp_path / "a folder" / "answers.sqlite"
    with serve([answer("first"), answer("second")]) as server:
        chat = CachedChat(client(server), AnswerCache(path))
        one, two = chat.complete(QUESTION, Sampling()), chat.complete(QUESTION, Sampling())
        assert (one.text, one.cached, two.text, two.cached) == ("first", False, "first", True)
        again = CachedChat(client(server), AnswerCache(path)).complete(QUESTION, Sampling())
        assert again.text == "first" and again.usage == one.usage
        assert len(server.requests) == 1
        assert chat.complete(QUESTION, Sampling(seed=1)).text == "second"
        assert len(server.requests) == 2 and len(AnswerCache(path)) == 2


def test_failures_are_not_kept(tmp_path):
    with serve([refuse(500), answer("ok")]) as server:
        chat = CachedChat(client(server, attempts=1), AnswerCache(tmp_path / "a.sqlite"))
        with pytest.raises(ChatError):
            chat.complete(QUESTION, Sampling())
        assert chat.complete(QUESTION, Sampling()).text == "ok"


def test_the_key_depends_on_everything_asked():
    other = encode_picture(255 - PIXELS)
    keys = [
        request_key("m", QUESTION, Sampling()),
        request_key("n", QUESTION, Sampling()),
        request_key("m", [Message("user", "Is it sharp? ", QUESTION[0].pictures)], Sampling()),
        request_key("m", [Message("user", "Is it sharp?", (other,))], Sampling()),
        request_key("m", [Message("user", "Is it sharp?", (*QUESTION[0].pictures, other))], Sampling()),
        request_key("m", [Message("assistant", "Is it sharp?", QUESTION[0].pictures)], Sampling()),
        *(
            request_key("m", QUESTION, sampling)
            for sampling in (Sampling(1), Sampling(temperature=1.0), Sampling(seed=1))
        ),
    ]
    assert len(set(keys)) == len(keys)
    assert request_key("m", [Message("user", "Is it sharp?", QUESTION[0].pictures)], Sampling()) == keys[0]


def _write_answers(path: str, writer: int, done) -> None:
    cache = AnswerCache(path)
    texts = [cache.put(f"key-{i}", "m", Completion(f"by {writer}", usage=Usage(i, writer))).text for i in range(100)]
    done.put([texts[i] == cache.get(f"key-{i}").text for i in range(100)])


def test_processes_share_a_cache_and_agree(tmp_path):
    context = multiprocessing.get_context("fork")
    path = str(tmp_path / "answers.sqlite")
    cache = AnswerCache(path)  # a connection that must not be used across the fork
    done = context.Queue()
    writers = [context.Process(target=_write_answers, args=(path, n, done)) for n in range(3)]
    for writer in writers:
        writer.start()
    agreed = [done.get(timeout=30) for _ in writers]
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert all(all(found) for found in agreed) and len(cache) == 100


def test_a_file_that_is_no_cache_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but longer than the header of one " * 20)
    with pytest.raises(ValueError, match="notes.txt"):
        AnswerCache(tmp_path / "notes.txt")


def test_threads_share_a_cache(tmp_path):
    cache = AnswerCache(tmp_path / "answers.sqlite")
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda i: cache.put(f"key-{i % 10}", "m", Completion(str(i))).text, range(200)))
    assert len(cache) == 10
    assert all(text == cache.get(f"key-{i % 10}").text for i, text in enumerate(texts))


def test_the_ledger_adds_up_and_kept_answers_are_free(tmp_path):
    ledger = Ledger(tmp_path / "costs" / "ledger.jsonl")
    with serve([refuse(500), answer("ok", usage={"prompt_tokens": 2000, "completion_tokens": 500})]) as server:
        cached = CachedChat(client(server), AnswerCache(tmp_path / "a.sqlite"))
        chat = MeteredChat(cached, ledger, Price(prompt=2.5, completion=10.0))
        for seed in (0, 1, 1):
            chat.complete(QUESTION, Sampling(seed=seed))
    totals = ledger.totals[chat.name]
    assert (totals.answers, totals.cached, totals.prompt_tokens, totals.completion_tokens) == (3, 1, 4000, 1000)
    assert totals.attempts == 3 and totals.seconds > 0
    assert totals.cost == pytest.approx(2 * (2000 * 2.5 + 500 * 10) / 1e6)
    lines = [json.loads(line) for line in (tmp_path / "costs" / "ledger.jsonl").read_text().splitlines()]
    assert [line["cached"] for line in lines] == [False, False, True]
    assert [line["cost"] for line in lines] == [pytest.approx(0.01), pytest.approx(0.01), 0.0]


def test_the_ledger_is_safe_between_threads():
    ledger = Ledger()
    threads = [
        threading.Thread(
            target=lambda: [ledger.add("m", Completion("x", usage=Usage(1, 1)), Price()) for _ in range(500)]
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.totals["m"].answers == ledger.totals["m"].prompt_tokens == 2000


# --- transformers ---------------------------------------------------------------------------------------------------


def test_our_own_model_is_a_chat_model():
    chat = TransformersChat(zoo.resolve("vital-tiny"), device="cpu")
    pictures = (encode_picture(PIXELS), encode_picture(255 - PIXELS))
    messages = [
        Message("user", "Which is sharper?", pictures),
        Message("assistant", "The first."),
        Message("user", "Why?"),
    ]
    sampled = [chat.complete(messages, Sampling(12, 1.0, seed)) for seed in (0, 1, 0)]
    assert sampled[0].text == sampled[2].text != sampled[1].text
    greedy = chat.complete(QUESTION, Sampling(12))
    assert greedy.text == chat.complete(QUESTION, Sampling(12)).text
    assert 0 < greedy.usage.completion_tokens <= 12
    blind = chat.complete([Message("user", "Is it sharp?")], Sampling(12))
    assert greedy.usage.prompt_tokens >= blind.usage.prompt_tokens + 4
    assert (greedy.finish_reason == "length") == (greedy.usage.completion_tokens == 12)


def test_another_architecture_is_one_too(tmp_path):
    tiny_llava(tmp_path)
    chat = TransformersChat(tmp_path, device="cpu")
    found = chat.complete(QUESTION, Sampling(5))
    assert found.usage.prompt_tokens > 16 and 1 <= found.usage.completion_tokens <= 5
    assert found.text == chat.complete(QUESTION, Sampling(5)).text


def test_a_text_that_a_processor_cannot_take_costs_its_question(tmp_path):
    tiny_llava(tmp_path)
    chat = TransformersChat(tmp_path, device="cpu")
    with pytest.raises(ChatRefusalError):
        chat.complete([Message("user", "Does <image> hold?", QUESTION[0].pictures)], Sampling(5))
    assert chat.complete(QUESTION, Sampling(5)).usage.completion_tokens


@pytest.mark.parametrize("kind", [ValueError, TypeError, IndexError, KeyError, StopIteration, TemplateError])
def test_what_a_processor_raises_is_a_refusal(kind, monkeypatch):
    def fail(*_):
        raise kind("odd turn")

    chat = TransformersChat("org/model")
    chat._loaded = (None, None)
    monkeypatch.setattr(chat, "_inputs", fail)
    with pytest.raises(ChatRefusalError, match="org/model.*odd turn"):
        chat.complete(QUESTION, Sampling())


def test_a_model_without_a_chat_template_is_not_asked_again():
    chat = TransformersChat("org/model")
    chat._loaded = (SimpleNamespace(chat_template=None), None)
    with pytest.raises(ChatSetupError, match="org/model.*template"):
        chat.complete(QUESTION, Sampling())


def test_checkpoints_of_one_name_are_told_apart(tmp_path):
    names = []
    for value in (0.0, 1.0):
        folder = tmp_path / str(value) / "checkpoint"
        folder.mkdir(parents=True)
        save_file({"weight": torch.full((100_000,), value)}, folder / "model.safetensors")
        names.append(TransformersChat(folder).name)
    assert names[0] != names[1] and all(name.startswith("checkpoint@") for name in names)
    assert TransformersChat("org/model", revision="v1").name == "org/model@v1"


def test_a_model_that_cannot_be_loaded_is_said(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ChatSetupError, match="BertConfig"):
        TransformersChat(tmp_path).complete(QUESTION, Sampling())
