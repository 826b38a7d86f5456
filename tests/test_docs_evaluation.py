"""The Python blocks of docs/evaluation.md run as they stand."""

import re
from pathlib import Path


DOCS = Path(__file__).parents[1] / "docs" / "evaluation.md"


def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), {})
    printed = capsys.readouterr().out
    assert "plcc_logistic4" in printed
    assert printed.rstrip().endswith("0.8")
