"""A stranger's checkpoint: what is wrong with it is one message that names the file, and nothing hangs."""

import json
import shutil
import struct
import threading
import time

import pytest

from modeling_vital import VitalForConditionalGeneration, chat_template_vital, zoo
from modeling_vital.chat_template_vital import TemplateError
from modeling_vital.cli.main import main
from tests.test_embedded_checkpoint import PHOTOS


LOOP = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3


@pytest.fixture
def checkpoint(tmp_path):
    shutil.copytree(zoo.resolve("vital-tiny"), tmp_path / "strange")
    return tmp_path / "strange"


def header(path, change):
    """Rewrites the header of a safetensors file; its data stay."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    changed = change(json.loads(data[8 : 8 + size]))
    text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def lying_shape(about):
    name = next(name for name in about if name != "__metadata__")
    about[name]["shape"] = [10**9, 10**6]
    return about


def lying_offsets(about):
    name = next(name for name in about if name != "__metadata__")
    about[name]["data_offsets"] = [0, 10**15]
    return about


BROKEN = {
    "header of another shape": (lambda p: header(p / "model.safetensors", lying_shape), "model.safetensors"),
    "header with other offsets": (lambda p: header(p / "model.safetensors", lying_offsets), "model.safetensors"),
    "header that is no JSON": (lambda p: header(p / "model.safetensors", lambda _: b"{]"), "model.safetensors"),
    "header that is nested": (lambda p: header(p / "model.safetensors", lambda _: b"[" * 9999), "model.safetensors"),
    "huge header": (lambda p: (p / "model.safetensors").write_bytes(b"\xff" * 64), "model.safetensors"),
    "cut": (
        lambda p: (p / "model.safetensors").write_bytes((p / "model.safetensors").read_bytes()[:5000]),
        "model.safet",
    ),
    "empty": (lambda p: (p / "model.safetensors").write_bytes(b""), "model.safetensors"),
    "config that is no JSON": (lambda p: (p / "config.json").write_text("{"), "config.json"),
    "config of lists": (lambda p: (p / "config.json").write_text("[]"), "strange"),
    "tokenizer": (lambda p: (p / "tokenizer.json").write_text('{"model": 3}'), "strange"),
    "template with a slip": (lambda p: (p / "chat_template.jinja").write_text("{% for %}"), "chat_template.jinja"),
    "template that raises": (lambda p: (p / "chat_template.jinja").write_text("{{ 1 / 0 }}"), "chat_template.jinja"),
    "template of another use": (
        lambda p: (p / "chat_template.jinja").write_text("{{ a.b.c }}"),
        "chat_template.jinja",
    ),
    "template that escapes": (
        lambda p: (p / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        "chat_template.jinja",
    ),
    "template that loops": (lambda p: (p / "chat_template.jinja").write_text(LOOP), "takes over 0.5 s"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_message_names_what_is_wrong(name, checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(chat_template_vital, "RENDER_TIMEOUT_S", 0.5)
    spoil, message = BROKEN[name]
    spoil(checkpoint)
    began = time.monotonic()
    assert main(["score", str(PHOTOS[0]), "--model", str(checkpoint), "--workers", "0"]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and time.monotonic() - began < 30
    assert len(said) < 2500


@pytest.mark.parametrize(
    "template",
    [
        LOOP,
        "{% macro m(n) %}{% for a in range(9) %}{{ m(n) if n > 900 else '' }}{% endfor %}{% endmacro %}" + LOOP,
        "{% set n = namespace(x='a') %}{% for a in range(99999) %}{% set n.x = n.x[:9] + 'a' %}{% endfor %}" * 500,
    ],
)
def test_a_template_that_loops_is_ended_also_from_python(template, monkeypatch):
    monkeypatch.setattr(chat_template_vital, "RENDER_TIMEOUT_S", 0.5)
    model = VitalForConditionalGeneration.from_pretrained(zoo.resolve("vital-tiny"))
    model.processor.chat_template = template
    began = time.monotonic()
    with pytest.raises(TemplateError, match="chat_template.jinja.* 0.5 s"):
        model.score(PHOTOS[0])
    assert time.monotonic() - began < 15
    for thread in [each for each in threading.enumerate() if each.name == "vital template"]:
        thread.join(10)
        assert not thread.is_alive()
