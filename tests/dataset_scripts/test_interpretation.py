"""The four steps over real HTTP: what is kept, what is rejected and why, and that no item is lost."""

import base64
import json
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dataset_scripts.interpretation import (
    AnswerCache,
    CachedChat,
    ChatError,
    ChatSetupError,
    Describer,
    InterpretationSettings,
    Interpreter,
    Jury,
    Polisher,
    Reviewer,
    ShownItem,
    TransformersChat,
    build_interpreter,
    prompts,
)
from dataset_scripts.interpretation.item import yes_or_no
from dataset_scripts.interpretation.polish import objection, read_list
from modeling_vital import zoo
from tests.fixtures.chat_server import Reply, answer, refuse, serve


PICTURE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
ITEM = ShownItem.from_pixels("photo 1", PICTURE)
DESCRIPTION = "Grain covers the sky. The face is out of focus. The quality is good."
STATEMENTS = ["Grain covers the sky.", "The face is out of focus."]


def said(request: dict) -> str:
    """The last thing the user said in a request."""
    content = request["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def step_of(request: dict) -> str:
    """Which step a request belongs to, by the first thing the user said."""
    content = request["messages"][0]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    starts = {"Here is a description": "polish", "Look closely": "judge", "You see": "describe"}
    return next((step for start, step in starts.items() if text.startswith(start)), "review")


def wording_of(request: dict) -> int:
    """Which re-worded question of the review a request asks, from 1."""
    return next(n for n, (text, _) in enumerate(prompts.REVIEW, 1) if said(request).startswith(text.split("{")[0]))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Waits of a hundredth of the client's own."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.005)


def honest(request: dict) -> Reply:
    """A model that writes `DESCRIPTION`, splits it, and stands by it."""
    step = step_of(request)
    if step == "describe":
        return answer(DESCRIPTION)
    if step == "polish":
        return answer(json.dumps([*STATEMENTS, "The quality is good."]))
    if step == "judge":
        return answer("Yes.")
    return answer("Yes" if prompts.REVIEW[wording_of(request) - 1][1] else "no")


def instead(step: str, reply, where=lambda request: True):
    """`honest`, but for one step (and only `where` it holds)."""
    return lambda request: reply(request) if step_of(request) == step and where(request) else honest(request)


def settings(server, tmp_path, judges=("judge a", "judge b"), **options) -> InterpretationSettings:
    def model(name: str) -> dict:
        return {"kind": "openai", "base_url": server.url, "model": name, "attempts": 2}

    return InterpretationSettings(
        model("writer"), [model(name) for name in judges], cache=tmp_path / "answers.sqlite", **options
    )


def interpret(choose, tmp_path, item=ITEM, **options):
    with serve(choose) as server:
        interpreter, _ = build_interpreter(settings(server, tmp_path, **options))
        result = interpreter(item)
    return result, server.requests


# --- the whole --------------------------------------------------------------------------------------------------


def test_true_statements_pass_every_step(tmp_path):
    result, requests = interpret(honest, tmp_path)
    assert result.kept == tuple(STATEMENTS) and result.description == DESCRIPTION and result.error is None
    assert [(r.text, r.step, r.reason) for r in result.rejected] == [
        ("The quality is good.", "polish", "empty phrase")
    ]
    steps = Counter(step_of(request) for request in requests)
    assert steps == {"describe": 1, "polish": 1, "judge": 2 * 2 * 3, "review": 2 * 3}
    votes = Counter((r["model"], r["seed"]) for r in requests if step_of(r) == "judge")
    assert votes == {(judge, seed): 2 for judge in ("judge a", "judge b") for seed in (0, 1, 2)}
    assert all(r["model"] == "writer" for r in requests if step_of(r) != "judge")
    assert {r["temperature"] for r in requests if step_of(r) == "judge"} == {0.7}
    for request in requests:
        shown = isinstance(request["messages"][0]["content"], list)
        assert shown == (step_of(request) != "polish")


@pytest.mark.parametrize("judge", ["judge a", "judge b"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_vote_against_in_any_round_is_enough(judge, number, tmp_path):
    against = instead(
        "judge",
        lambda request: answer("No."),
        lambda r: STATEMENTS[0] in said(r) and r["model"] == judge and r["seed"] == number,
    )
    result, _ = interpret(against, tmp_path)
    assert result.kept == (STATEMENTS[1],)
    rejection = result.rejected[-1]
    assert (rejection.text, rejection.step) == (STATEMENTS[0], "judge")
    assert rejection.reason.startswith(judge) and rejection.reason.endswith(f"says no in round {number + 1}")


@pytest.mark.parametrize("wording", [1, 2, 3])
def test_a_describer_that_contradicts_itself_loses_the_statement(wording, tmp_path):
    expected = prompts.REVIEW[wording - 1][1]
    wavers = instead(
        "review",
        lambda request: answer("no" if expected else "yes"),
        lambda r: STATEMENTS[1] in said(r) and wording_of(r) == wording,
    )
    result, _ = interpret(wavers, tmp_path)
    assert result.kept == (STATEMENTS[0],)
    rejection = result.rejected[-1]
    assert (rejection.text, rejection.step) == (STATEMENTS[1], "review")
    assert rejection.reason.startswith(f"wording {wording}: the answer is {'no' if expected else 'yes'}")


def test_a_yes_man_keeps_nothing(tmp_path):
    """Who says yes to everything fails the questions that a true statement answers with no."""
    result, _ = interpret(instead("review", lambda request: answer("yes")), tmp_path)
    assert result.kept == () and [r.step for r in result.rejected] == ["polish", "review", "review"]
    assert {expected for _, expected in prompts.REVIEW} == {True, False}


def test_a_clip_is_shown_as_frames_in_order(tmp_path):
    clip = np.repeat(np.arange(24, dtype=np.uint8), 16 * 16 * 3).reshape(24, 16, 16, 3)
    item = ShownItem.from_pixels("clip", clip, max_frames=6)
    result, requests = interpret(honest, tmp_path, item)
    assert len(item.pictures) == 6 and result.kept
    first = requests[0]["messages"][0]["content"]
    assert [part["type"] for part in first] == ["image_url"] * 6 + ["text"]
    assert "6 frames" in first[-1]["text"] and "flicker" in first[-1]["text"]
    assert "flicker" not in prompts.DESCRIBE


# --- answers that cannot be used ----------------------------------------------------------------------------------


def test_a_malformed_list_is_asked_for_again_and_kept_with_its_reason(tmp_path):
    replies = iter([answer("Here you are: grain, blur"), answer('["Cut', "length"), answer(json.dumps(STATEMENTS))])
    result, requests = interpret(instead("polish", lambda request: next(replies)), tmp_path)
    assert result.kept == tuple(STATEMENTS)
    assert [(r.text, r.step) for r in result.rejected] == [
        ("Here you are: grain, blur", "polish"),
        ('["Cut', "polish"),
    ]
    asked = [request for request in requests if step_of(request) == "polish"]
    assert len({request["seed"] for request in asked}) == 3
    roles = [message["role"] for message in asked[-1]["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"] and said(asked[-1]) == prompts.POLISH_AGAIN


def test_a_description_that_never_becomes_a_list_is_rejected_whole(tmp_path):
    result, requests = interpret(instead("polish", lambda request: answer("no list")), tmp_path)
    assert result.kept == () and result.error is None
    assert (result.rejected[-1].text, result.rejected[-1].reason) == (DESCRIPTION, "no list in 3 tries")
    assert Counter(map(step_of, requests)) == {"describe": 1, "polish": 3}


@pytest.mark.parametrize("reply", [answer(""), answer("It is so sharp that", "length")])
def test_no_description(reply, tmp_path):
    result, requests = interpret(instead("describe", lambda request: reply), tmp_path)
    assert (result.description, result.kept, result.error) == ("", (), None)
    assert [(r.step, r.reason) for r in result.rejected] == [("describe", "empty or cut off")] * 3
    assert len(requests) == 3


def test_a_vote_that_is_none_is_asked_for_again(tmp_path):
    def mumbles(request):
        return answer("It depends." if len(request["messages"]) == 1 else "yes")

    result, _ = interpret(instead("judge", mumbles), tmp_path, judges=("judge a",), rounds=1)
    assert result.kept == tuple(STATEMENTS)
    assert [r.text for r in result.rejected if r.step == "judge"] == ["It depends."] * 2
    result, requests = interpret(
        instead("judge", lambda r: answer("Perhaps")), tmp_path / "b", judges=("j",), rounds=1
    )
    assert result.kept == () and result.rejected[-1].reason.endswith("does not vote in round 1")
    assert sum(step_of(request) == "judge" for request in requests) == 2 * 3


def test_a_long_vote_counts_though_it_is_cut_off(tmp_path):
    result, _ = interpret(instead("judge", lambda r: answer("Yes, the grain is", "length")), tmp_path)
    assert result.kept == tuple(STATEMENTS)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("yes", True), ("Yes.", True), ("**Yes**, it is", True), ('"No"', False), ("NO!", False),
        ("", None), ("Maybe yes", None), ("Yes and no", None), ("nothing", None), ("yesterday", None),
    ],
)  # fmt: skip
def test_yes_or_no(text, verdict):
    assert yes_or_no(text) is verdict


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('["a", " b ", ""]', ["a", "b"]),
        ('```json\n["a."]\n```', ["a."]),
        ('Sure: ["x [1] y"] done', ["x [1] y"]),
        ("[]", []),
        ('["a", 1]', None), ('{"a": 1}', None), ("[a, b]", None), ("", None), ("]a[", None),
    ],
)  # fmt: skip
def test_read_list(text, found):
    assert read_list(text) == found


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("The overall visual quality of the image is quite good.", "empty phrase"),
        ("It looks fine.", "empty phrase"),
        ("...", "no words"),
        ("The sky is noisy. The face is sharp.", "more than one sentence"),
        ("Is it sharp? It is.", "more than one sentence"),
        ("word " * 41, "41 words, more than 40"),
        ("The picture is sharp.", None),
        ("Noise of about 3.5 grey levels covers the sky", None),
        ("The quality of the sky is poor.", None),
        ("Blocks of 8 x 8 px, e.g. on the wall, are seen.", None),
        ("Die Kanten sind unscharf.", None),
    ],
)
def test_objections(statement, reason):
    assert objection(statement) == reason


def test_a_statement_said_twice_is_kept_once(tmp_path):
    twice = instead("polish", lambda r: answer(json.dumps([STATEMENTS[0], STATEMENTS[0].upper()])))
    result, _ = interpret(twice, tmp_path)
    assert result.kept == (STATEMENTS[0],) and result.rejected[-1].reason == "said already"


# --- failures, resuming, many items -------------------------------------------------------------------------------


def test_a_dead_judge_leaves_an_error_and_a_later_run_asks_only_what_is_missing(tmp_path):
    dead = instead("judge", lambda request: refuse(503), lambda r: r["model"] == "judge b")
    with serve(dead) as server:
        options = settings(server, tmp_path)
        result = build_interpreter(options)[0](ITEM)
        assert result.kept == () and "judge b gave no answer in 2 attempts: HTTP 503" in result.error
        before = len(server.requests)
        server.choose = honest
        again = build_interpreter(options)[0](ITEM)
        assert again.kept == tuple(STATEMENTS) and again.error is None
        new = server.requests[before:]
        assert Counter(map(step_of, new)) == {"judge": 2 * 2 * 3 - 1, "review": 2 * 3}
        third = build_interpreter(options)[0](ITEM)
        assert third == again and len(server.requests) == before + len(new)


def test_a_refused_picture_costs_only_its_item(tmp_path):
    odd = ShownItem.from_pixels("odd", 255 - PICTURE)
    choose = instead("describe", lambda request: refuse(400), lambda r: len(served) == 2)
    served: list[dict] = []
    with serve(
        lambda request: (served.append(request) if step_of(request) == "describe" else None) or choose(request)
    ) as server:
        interpreter, _ = build_interpreter(settings(server, tmp_path))
        results = [interpreter(item) for item in (ITEM, odd)]
    assert results[0].kept and results[1].kept == () and results[1].error is None
    (rejection,) = results[1].rejected
    assert rejection.step == "refused" and "HTTP 400" in rejection.reason


def test_a_wrong_key_is_no_fault_of_the_item(tmp_path):
    with serve([refuse(401)]) as server:
        interpreter, _ = build_interpreter(settings(server, tmp_path))
        with pytest.raises(ChatSetupError, match="OPENAI_API_KEY.* 401"):
            interpreter(ITEM)
        assert len(server.requests) == 1
    assert issubclass(ChatSetupError, ChatError)


def test_many_items_at_once_and_a_second_run_is_the_same(tmp_path):
    """Every item has its own description; some items fail, and come back with their error."""
    items = [ShownItem.from_pixels(f"item {n}", np.full((8, 8, 3), n, np.uint8)) for n in range(24)]
    by_picture = {item.pictures[0]: n for n, item in enumerate(items)}
    lock = threading.Lock()

    def number(request) -> int:
        url = request["messages"][0]["content"][0]["image_url"]["url"]
        return by_picture[base64.b64decode(url.partition(",")[2])]

    def choose(request):
        with lock:
            step = step_of(request)
            if step == "describe":
                n = number(request)
                return refuse(500) if n % 7 == 3 else answer(f"Spot {n} is blurred.")
            if step == "polish":
                n = re.search(r"Spot (\d+)", said(request))[1]
                return answer(json.dumps([f"Spot {n} is blurred."]))
            if step == "judge" and number(request) % 5 == 1:
                return answer("no")
            return honest(request)

    with serve(choose) as server, ThreadPoolExecutor(6) as pool:
        options = settings(server, tmp_path, judges=("judge a",), ledger=tmp_path / "ledger.jsonl")
        interpreter, ledger = build_interpreter(options)
        results = list(pool.map(interpreter, items))
        asked = len(server.requests)
        answered = len((tmp_path / "ledger.jsonl").read_text().splitlines())
        assert sum(totals.answers for totals in ledger.totals.values()) == answered
        assert [r.item_id for r in results] == [item.item_id for item in items]
        for n, result in enumerate(results):
            if n % 7 == 3:
                assert result.error and not result.kept
            elif n % 5 == 1:
                assert not result.error and not result.kept and result.rejected[-1].step == "judge"
            else:
                assert result.kept == (f"Spot {n} is blurred.",) and not result.error
        failed = sum(n % 7 == 3 for n in range(24))
        again = list(pool.map(build_interpreter(options)[0], items))
        assert again == results
        assert len(server.requests) - asked == 2 * failed  # two attempts each; all else came from the cache


def test_our_own_model_runs_through_all_steps(tmp_path):
    """vital-tiny was not trained to answer questions: what counts is that it runs, and that nothing wrong is kept."""
    chat = CachedChat(TransformersChat(zoo.resolve("vital-tiny"), device="cpu"), AnswerCache(tmp_path / "a.sqlite"))
    interpreter = Interpreter(Describer(chat, 24), Polisher(chat, 24, retries=1), Jury([chat], 1), Reviewer(chat))
    result = interpreter(ITEM)
    assert result.error is None and result.kept == ()
    assert result.rejected and all(rejection.step and rejection.reason for rejection in result.rejected)
    kept = len(chat.cache)
    assert interpreter(ITEM) == result and len(chat.cache) == kept > 0


# --- settings -------------------------------------------------------------------------------------------------


def test_settings_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"\['judge'\]"):
        InterpretationSettings.from_dict({"describer": {}, "judge": []})
    with pytest.raises(ValueError, match=r"lack \['judges'\]"):
        InterpretationSettings.from_dict({"describer": {}})
    for model, message in (
        ({"model": "m"}, "needs a kind"),
        ("my-model", "is a mapping"),
        ({"kind": "openai", "base_url": "http://x", "model": "m", "colour": 1}, "colour"),
        ({"kind": "openai", "base_url": "http://x", "model": "m", "price": {"input": 1}}, "input"),
    ):
        options = InterpretationSettings.from_dict(
            {"describer": model, "judges": [model], "cache": tmp_path / "a.sqlite"}
        )
        with pytest.raises(ValueError, match=message):
            build_interpreter(options)
    with pytest.raises(ValueError, match="judge.* 0 and 3"):
        Jury([])


def test_items_are_checked():
    with pytest.raises(ValueError, match="photo 1: .*uint8"):
        ShownItem.from_pixels("photo 1", PICTURE.astype(np.float32))
    with pytest.raises(ValueError, match=r"clip: .*uint8 \(0, 8, 8, 3\)"):
        ShownItem.from_pixels("clip", np.zeros((0, 8, 8, 3), np.uint8))
