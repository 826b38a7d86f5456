"""Every command of docs/training.md names a script and settings that there are."""

import re
import shlex
from pathlib import Path

import pytest

from training.recipe import Recipe


TEXT = Path("docs/training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]


def test_the_page_has_commands():
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_can_be_read(command):
    words = shlex.split(command)
    place = next(i for i, word in enumerate(words) if word.startswith("training/") and word.endswith(".py"))
    assert Path(words[place]).is_file()
    stage = Path(words[place]).stem
    assert Recipe.parse(stage, words[place + 1 :]).training.stage == stage


def test_the_settings_the_page_names_are_there():
    settings = Recipe.parse("pretrain", ["--config", "training/recipes/smoke.yaml"])
    known = {*vars(settings.run), *vars(settings.data), *vars(settings.loss), *vars(settings.training)}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)(?:: [a-z]+)?`", TEXT)) - {"eval_srcc", "eval_plcc"}
    assert len(named) > 6
    assert named <= known
