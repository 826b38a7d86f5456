"""VITAL as a model of VLMEvalKit, run through this module:

    python -m modeling_vital.evaluation.harness.vlmevalkit_model CHECKPOINT run.py --model vital --data ...

VLMEvalKit knows the models in its own code only and has no entry points. This adds `vital` for one run of its script.
"""

import argparse
import runpy
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import vlmeval.config
import vlmeval.vlm
from vlmeval.vlm.base import BaseModel

from modeling_vital.evaluation.harness.conversations import ChatAnswers


class Vital(BaseModel):
    """Answers the questions of tasks that ask for text.

    Args:
        pretrained (`str`, *optional*, defaults to `"vital-tiny"`): a name of the zoo, a folder, or a Hub id.
        device (`str`, *optional*): by default a GPU where there is one.
        dtype (`str`, *optional*, defaults to `"auto"`): of the weights.
        max_new_tokens (`int`, *optional*, defaults to 64): length of an answer at most.
    """

    INTERLEAVE = True
    VIDEO_LLM = True
    """Clips come as files, and the model chooses their frames itself."""

    def __init__(
        self,
        pretrained: str = "vital-tiny",
        device: str | None = None,
        dtype: str = "auto",
        max_new_tokens: int = 64,
    ) -> None:
        super().__init__()
        self._answers = ChatAnswers(pretrained, device, dtype)
        self._settings = {"max_new_tokens": max_new_tokens}

    def generate_inner(self, message: Sequence[Mapping[str, str]], dataset: str | None = None) -> str:
        """Answers one message, which VLMEvalKit has checked: parts with `type` (text, image or video) and `value`."""
        content: list[dict[str, Any]] = [{"type": part["type"], part["type"]: part["value"]} for part in message]
        return self._answers([{"role": "user", "content": content}], self._settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a script of VLMEvalKit that knows the model `vital`, and in `--config` files the class `Vital`."""
    parser = argparse.ArgumentParser(
        prog="python -m modeling_vital.evaluation.harness.vlmevalkit_model",
        description="Runs VLMEvalKit with the model `vital`.",
    )
    parser.add_argument("checkpoint", help="a name of the zoo, a folder, or a Hub id")
    parser.add_argument("script", type=Path, help="run.py of VLMEvalKit")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments: --model vital --data ...")
    args = parser.parse_args(argv)
    if not args.script.is_file():
        parser.error(f"{args.script} is not there: give the run.py of a clone of VLMEvalKit")
    vlmeval.vlm.Vital = Vital
    vlmeval.config.supported_VLM["vital"] = partial(Vital, args.checkpoint)
    sys.argv = [str(args.script), *args.arguments]
    runpy.run_path(str(args.script), run_name="__main__")


if __name__ == "__main__":
    main()
