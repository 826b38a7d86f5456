"""Rules of the house: which folder may import which, how docstrings begin, and what tests match of errors."""

import ast
import functools
import re
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
FLAT = "modeling_vital/*.py"  # modules of the package that are not copied into checkpoints
COPIED = "modeling_vital/*_vital.py"
PARTS = ("conversion", "evaluation", "export", "local_quality", "publishing", "zoo")
PACKAGE = {COPIED, FLAT, *(f"modeling_vital/{part}" for part in PARTS)}
MAY_IMPORT = {
    COPIED: set(),
    FLAT: {COPIED, "modeling_vital/zoo"},
    **{f"modeling_vital/{part}": {COPIED, FLAT} for part in PARTS},
    "modeling_vital/report_page": {COPIED, FLAT, "modeling_vital/local_quality"},
    "modeling_vital/cli": {*PACKAGE, "modeling_vital/report_page"},
    "dataset_scripts": PACKAGE,
    "training": {*PACKAGE, "modeling_vital/cli", "dataset_scripts"},
    "spaces_demo": PACKAGE,
    "model_cards": PACKAGE,
    "benchmarks": {*PACKAGE, "modeling_vital/cli", "dataset_scripts", "training"},
}
"""Layer -> layers it may import, besides itself."""


parsed = functools.cache(ast.parse)  # several rules read the same files


def layer(path):
    """The layer of a file or module, given relative to the root."""
    parts = Path(path).parts
    if parts[0] != "modeling_vital":
        return parts[0]
    if parts[1:] == ("__main__.py",):
        return "modeling_vital/cli"  # the command `vital`, as `python -m` starts it
    if len(parts) > 2 or (ROOT / path).is_dir():
        return "/".join(parts[:2]) if len(parts) > 1 else FLAT
    return COPIED if Path(path).stem.endswith("_vital") else FLAT


def imported(path, tree):
    """Modules of this repository that a file imports anywhere in it, as paths."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = list(path.parts[: -node.level]) if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            place = Path(*name.split("."))
            if place.parts[0] not in {each.partition("/")[0] for each in MAY_IMPORT}:
                continue
            while not (ROOT / place).is_dir() and not (ROOT / place).with_suffix(".py").is_file():
                place = place.parent  # a name in a module
            yield place if (ROOT / place).is_dir() else place.with_suffix(".py")


def breaches(path, text):
    own = layer(path)
    found = {layer(place) for place in imported(path, parsed(text))}
    return sorted(other for other in found - {own} if other not in MAY_IMPORT[own])


def test_every_folder_imports_only_what_it_may():
    found = {}
    for folder in sorted({name.partition("/")[0] for name in MAY_IMPORT}):
        for file in sorted((ROOT / folder).rglob("*.py")):
            path = file.relative_to(ROOT)
            if wrong := breaches(path, file.read_text(encoding="utf-8")):
                found[str(path)] = wrong
    assert not found


@pytest.mark.parametrize(
    ("path", "text", "wrong"),
    [
        ("modeling_vital/cli/evaluate.py", "def f():\n    from training.tiny import DATA", ["training"]),
        ("modeling_vital/evaluation/new.py", "from ..cli.model_loading import load_model", ["modeling_vital/cli"]),
        ("modeling_vital/new_vital.py", "from .zoo import resolve", ["modeling_vital/zoo"]),
        ("modeling_vital/new_vital.py", "from .messages import first_line", [FLAT]),
        ("dataset_scripts/sources/new.py", "import training.run", ["training"]),
        ("spaces_demo/new.py", "from modeling_vital.cli import loading", ["modeling_vital/cli"]),
        ("dataset_scripts/new.py", "from modeling_vital.whole_files import whole_file", []),
        ("modeling_vital/export/new.py", "from ..levels_vital import LEVEL_WORDS", []),
        ("modeling_vital/export/new.py", "from ..conversion import layout", ["modeling_vital/conversion"]),
    ],
)
def test_a_breach_is_seen(path, text, wrong):
    assert breaches(Path(path), text) == wrong


@pytest.mark.parametrize(
    "folder", ["modeling_vital", "dataset_scripts", "training", "benchmarks", "spaces_demo", "model_cards"]
)
def test_docstrings_begin_with_a_verb_or_a_noun(folder):
    questions = {"What", "Where", "Whether", "How", "Which", "When", "Who", "Why"}
    named = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        (f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text)
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(parsed(path.read_text(encoding="utf-8")))
        if isinstance(node, named) and (text := ast.get_docstring(node))
    ]
    assert len(docstrings) > 10
    assert not [f"{place}: {text.splitlines()[0]}" for place, text in docstrings if text.split()[0] in questions]


def sentences(text):
    """Patterns of `pytest.raises` with four words in a row."""
    patterns = re.findall(r"""match=[rf]{0,2}(["'])(.*?)\1""", text)
    return [pattern for _, pattern in patterns if re.search(r"([A-Za-z']+ ){3}[A-Za-z']+", pattern)]


def test_errors_are_matched_by_what_they_name_not_by_their_sentence():
    assert sentences('with pytest.raises(ValueError, match=rf"the file is not"):') == ["the file is not"]
    paths = [path for path in (ROOT / "tests").rglob("test_*.py") if path.name != "test_layers.py"]
    assert len(paths) > 100
    assert {path.name: said for path in paths if (said := sentences(path.read_text(encoding="utf-8")))} == {}
