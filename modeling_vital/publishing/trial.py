"""Loads a model or a data set the way its users will: in a process of its own, with empty caches.

    python -m modeling_vital.publishing.trial model FOLDER_OR_ID [REVISION]

The model's own code files run here, not those of the installed package.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from .errors import PublishError


_MARK = "trial: "
# Where things are kept, and whether the network may be used: each trial has its own.
_STATE = {
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_MODULES_CACHE",
    "HF_ASSETS_CACHE",
    "HF_DATASETS_CACHE",
    "HF_DATASETS_OFFLINE",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "TRANSFORMERS_OFFLINE",
    "TRANSFORMERS_CACHE",
}


def run_trial(
    kind: str,
    source: str,
    revision: str | None = None,
    env: Mapping[str, str] | None = None,
    name: str | None = None,
) -> dict:
    """Loads it and looks at what comes.

    Args:
        kind (`str`): `"model"` or `"dataset"`.
        source (`str`): a folder or a Hub id.
        revision (`str`, *optional*): of a Hub id.
        env (`Mapping[str, str]`, *optional*): set for the process, beside this one's.
        name (`str`, *optional*): what error messages call it; `source` by default.

    Returns:
        `dict`: of a model `score` and `std` of a made picture; of a data set, configuration -> split -> columns.

    Raises:
        PublishError: it does not load, or gives no finite score. The message ends with what the process said last.
    """
    command = [
        sys.executable,
        "-m",
        "modeling_vital.publishing.trial",
        kind,
        source,
        *([revision] if revision else []),
    ]
    with tempfile.TemporaryDirectory(prefix="vital-trial-") as home:
        clean = {name: value for name, value in os.environ.items() if name not in _STATE}
        offline = {} if revision else {"HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            command,
            # Safe path: nothing in the current folder is taken for a library.
            env={**clean, **offline, "HF_HOME": home, "PYTHONSAFEPATH": "1", **(env or {})},
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    answers = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if not answers:  # with one all is well: libraries' threads have crashed an interpreter on its way out
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise PublishError(f"the {kind} {name or source} cannot be used as it is: {said}")
    return json.loads(answers[-1].removeprefix(_MARK))


def _try_model(source: str, revision: str | None) -> dict[str, float]:
    import math

    import numpy as np
    from transformers import AutoModel

    model = AutoModel.from_pretrained(source, revision=revision or "main", trust_remote_code=True, dtype="auto")
    rows, columns = np.mgrid[0:256, 0:320]
    picture = np.stack([rows, columns * 0.8, (rows * columns) % 256], axis=-1).astype(np.uint8)
    result = model.eval().score(picture)
    if not (math.isfinite(result.score) and math.isfinite(result.std)):
        raise ValueError(f"the score of a picture is {result.score}, its std {result.std}")
    return {"score": round(result.score, 5), "std": round(result.std, 5)}


def _try_dataset(source: str, revision: str | None) -> dict[str, dict[str, list[str]]]:
    # Streaming: a data set may be larger than the disk.
    from datasets import get_dataset_config_names, load_dataset

    found = {}
    for config in get_dataset_config_names(source, revision=revision):
        splits = load_dataset(source, config, revision=revision, streaming=True)
        found[config] = {split: list(next(iter(rows))) for split, rows in splits.items()}
    return found


def main(arguments: list[str]) -> int:
    """Entry of the process: prints the answer as a marked line of JSON."""
    kind, source, *revision = arguments
    answer: Any = {"model": _try_model, "dataset": _try_dataset}[kind](source, revision[0] if revision else None)
    sys.stdout.write(f"{_MARK}{json.dumps(answer)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
