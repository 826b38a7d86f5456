"""docs/fine-tuning.md: its commands run, in its order, on pictures and clips that have been rated."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from transformers import AutoModel

from training.smoke_data import EXAMPLES


ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash( no-run)?\n(.*?)^```", PAGE, re.M | re.S)
COMMANDS = [line for no_run, block in BLOCKS if not no_run for line in block.splitlines()]


def test_everything_it_names_is_there():
    for name in re.findall(r"training/[\w/]+\.(?:py|yaml)", PAGE):
        assert (ROOT / name).is_file(), name


def test_what_is_not_run_is_said_to_be():
    for match in re.finditer(r"^```bash no-run$", PAGE, re.M):
        assert "not run here" in PAGE[: match.start()].rpartition("\n## ")[2]


@pytest.mark.slow
def test_its_commands_run(tmp_path):
    rows = ["path,mos,std"]
    for number, path in enumerate(sorted(EXAMPLES.glob("*.jpg"))):
        Image.open(path).reduce(3).save(tmp_path / f"photo {number}.jpg")
        rows.append(f"photo {number}.jpg,{1.5 + number / 2},0.6")
    clip = min(EXAMPLES.glob("*.mp4"), key=lambda path: path.stat().st_size)
    shutil.copy(clip, tmp_path / "clip.mp4")
    rows.append("clip.mp4,3.2,")
    (tmp_path / "ratings.csv").write_text("\n".join(rows))
    programs = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}
    said = {}
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        arguments = [re.sub(r"^(ratings\.csv|runs/)", rf"{tmp_path}/\1", argument) for argument in arguments]
        done = subprocess.run(
            [*programs[program], *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        said.setdefault(line, []).append(done.stderr + done.stdout)
    first, again = next(outputs for line, outputs in said.items() if line.endswith("--output_dir runs/mine"))
    assert "Going on from" not in first and "Going on from" in again
    for name in ("mine", "probe", "zero", "warm", "two"):
        AutoModel.from_pretrained(tmp_path / "runs" / name, trust_remote_code=True)
    assert json.loads((tmp_path / "runs" / "zero" / "results.json").read_text())["rows"] >= 1
