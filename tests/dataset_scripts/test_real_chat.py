"""The description pipeline against a real chat endpoint: `transformers serve` with a language model of 135 M.

The model is far too small to describe or to judge: what is proved is that the protocol, malformed answers, time-outs
and restarts of a real server come out as the stand-in of `tests/fixtures/chat_server.py` says.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from dataset_scripts.interpretation import (
    AnswerCache,
    CachedChat,
    ChatError,
    Describer,
    Interpreter,
    Jury,
    Message,
    OpenAIChat,
    Polisher,
    Reviewer,
    Sampling,
    ShownItem,
    TransformersChat,
)
from modeling_vital import zoo


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "build/packages"
ITEM = ShownItem.from_pixels("photo 1", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
QUESTION = [Message("user", "Name a colour.")]
START_S = 300


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The language model of the experiment as an ordinary checkpoint; its package is fetched once and kept."""
    pytest.importorskip("openai", reason="transformers' server is written with its types")
    from transformers import AutoModelForCausalLM

    from training.experiment import ExperimentError
    from training.experiment.family import PackagedDecoder

    recipe = yaml.safe_load((ROOT / "training/recipes/tiny_experiment.yaml").read_text())
    decoders = recipe["family"]["decoders"].values()
    (fields,) = (decoder for decoder in decoders if "package" in decoder)
    try:
        model, tokenizer = PackagedDecoder(**fields).load(PACKAGES)
    except ExperimentError as error:
        pytest.skip(str(error))
    plain = AutoModelForCausalLM.from_config(model.config)  # one read from GGUF refuses to be saved
    plain.load_state_dict(model.state_dict())
    folder = tmp_path_factory.mktemp("chat model")
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


class Server:
    """`transformers serve` on the loopback address; it can be stopped, started again, and paused."""

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("transformers")), "serve", self.checkpoint]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu", "--dtype", "float32"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(command, env=environment, stdout=sys.stderr, stderr=sys.stderr)
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                return
            time.sleep(0.5)
        raise RuntimeError("the server did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def server(checkpoint):
    server = Server(checkpoint)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def chat(server, **options) -> OpenAIChat:
    return OpenAIChat(server.url, server.checkpoint, **{"timeout_s": 300, "attempts": 1, **options})


def test_an_answer_with_its_tokens_and_its_end(server):
    found = chat(server).complete(QUESTION, Sampling(6))
    assert found.text and found.finish_reason == "length"
    assert found.usage.completion_tokens == 6 and found.usage.prompt_tokens > 5 and found.usage.attempts == 1
    assert found.text == chat(server).complete(QUESTION, Sampling(6)).text


def test_answers_that_cannot_be_used_end_as_rejections(server, tmp_path):
    """A list cut off after 8 tokens is no list, and 4 tokens of this model are hardly a vote: both are asked again."""
    model = CachedChat(chat(server), AnswerCache(tmp_path / "answers.sqlite"))
    kept, dropped = Polisher(model, max_tokens=8, retries=1)(ITEM, "Grain covers the sky.")
    assert kept == [] and [rejection.reason for rejection in dropped] == [
        *["not a JSON list of strings"] * 2,
        "no list in 2 tries",
    ]
    assert dropped[0].text and dropped[-1].text == "Grain covers the sky."
    jury = Jury([model], rounds=1, temperature=0.0, retries=1, max_tokens=4)
    holds, rejections = jury(ITEM, "Grain covers the sky.")
    assert all(rejection.step == "judge" for rejection in rejections)
    assert holds or rejections[-1].text == "Grain covers the sky."
    assert len(AnswerCache(tmp_path / "answers.sqlite")) >= 3


def test_a_setting_the_server_does_not_know_is_its_refusal(server):
    with pytest.raises(ChatError, match="HTTP 422.*no_such_setting"):
        chat(server, extra={"no_such_setting": 1}).complete(QUESTION, Sampling(2))


def test_a_server_that_hangs_times_out_and_then_answers(server):
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ChatError, match="1 attempts: .* 1 s"):
            chat(server, timeout_s=1).complete(QUESTION, Sampling(2))
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert chat(server).complete(QUESTION, Sampling(2)).text


def test_vital_tiny_describes_and_the_server_polishes_and_judges_through_a_restart(server, tmp_path):
    """The whole pipeline: an item fails while the server is away, and comes out with its answers after a restart."""
    describer = TransformersChat(zoo.resolve("vital-tiny"), device="cpu")
    cache = AnswerCache(tmp_path / "answers.sqlite")
    judge = CachedChat(chat(server), cache)
    writer = CachedChat(describer, cache)
    interpreter = Interpreter(
        Describer(writer),
        Polisher(judge, max_tokens=8, retries=0),
        Jury([judge], rounds=1, retries=0, max_tokens=4),
        Reviewer(writer),
    )
    server.stop()
    away = interpreter(ITEM)
    assert away.description and away.kept == () and "gave no answer in 1 attempts" in away.error
    assert interpreter(ITEM).error  # still away; the description is not written anew
    server.start()
    found = interpreter(ITEM)
    assert found.error is None and found.description == away.description
    assert found.rejected[-1].reason == "no list in 1 tries" and found.kept == ()
