"""What is sent of a folder, and what makes it unfit."""

import json

import pytest

from modeling_vital.publishing.contents import read_contents
from modeling_vital.publishing.errors import PublishError
from modeling_vital.publishing.trial import run_trial


SPACE_CARD = "---\ntitle: T\nsdk: gradio\nsdk_version: 6.31.0\napp_file: app.py\ncolorFrom: blue\n---\nText\n"


def write(root, **files):
    root.mkdir(exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def model(root, **files):
    return write(
        root, **{"config__json": "{}", "model__safetensors": "x", "README__md": "---\ntags: [a]\n---\n", **files}
    )


def dataset(root, **files):
    card = "---\nlicense: cc0-1.0\nconfigs:\n- config_name: default\n  data_files: '*.parquet'\n---\n"
    return write(root, **{"README__md": card, "rows__parquet": "PAR1rowsPAR1", **files})


def space(root, **files):
    return write(root, **{"README__md": SPACE_CARD, "app__py": "x = 1\n", "requirements__txt": "gradio>=6\n", **files})


def test_hidden_files_and_caches_stay(tmp_path):
    root = model(tmp_path / "m")
    for name in (".git/config", "__pycache__/a.cpython-311.pyc", ".DS_Store", ".env", "sub folder/b.py"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("secret")
    (root / ".gitattributes").write_text("")
    contents = read_contents("model", root)
    assert list(contents.files) == [
        ".gitattributes",
        "README.md",
        "config.json",
        "model.safetensors",
        "sub folder/b.py",
    ]
    assert contents.left_out == [".DS_Store", ".env", ".git/", "__pycache__/"]
    assert contents.size_bytes == sum(path.stat().st_size for path in contents.files.values())
    assert contents.warnings == []


@pytest.mark.parametrize(("kind", "make"), [("model", model), ("dataset", dataset), ("space", space)])
def test_sound_folders_pass_without_warning(kind, make, tmp_path):
    assert read_contents(kind, make(tmp_path / "sound")).warnings == []


DEFECTS = {
    "no config": ("model", model, lambda root: (root / "config.json").unlink(), "no config.json"),
    "no weights": ("model", model, lambda root: (root / "model.safetensors").unlink(), "no weights"),
    "missing shard": (
        "model",
        model,
        lambda root: write(
            root, model__safetensors__index__json=json.dumps({"weight_map": {"a": "part-2.safetensors"}})
        ),
        "part-2.safetensors",
    ),
    "yaml": ("model", model, lambda root: write(root, README__md="---\n{a: [\n---\n"), "README.md has a YAML block"),
    "results without a metric": (
        "model",
        model,
        lambda root: write(root, README__md="---\nmodel-index:\n- name: a\n  results:\n  - task: {type: b}\n---\n"),
        "README.md has a YAML block",
    ),
    "link to nothing": ("model", model, lambda root: (root / "a.txt").symlink_to(root / "b.txt"), "links to nothing"),
    "link to a folder": ("model", model, lambda root: (root / "more").symlink_to(root.parent), "link to a folder"),
    "no card": ("dataset", dataset, lambda root: (root / "README.md").unlink(), "no README.md"),
    "no yaml": ("dataset", dataset, lambda root: write(root, README__md="Text"), "does not begin with a YAML block"),
    "no license": ("dataset", dataset, lambda root: write(root, README__md="---\ntags: [a]\n---\n"), "license"),
    "no table": ("dataset", dataset, lambda root: (root / "rows.parquet").unlink(), "no .parquet"),
    "table cut short": (
        "dataset",
        dataset,
        lambda root: write(root, rows__parquet="PAR1row"),
        "rows.parquet is not a whole Parquet file",
    ),
    "empty table": ("dataset", dataset, lambda root: write(root, rows__parquet=""), "not a whole Parquet file"),
    "no app": ("space", space, lambda root: (root / "app.py").unlink(), "no app.py"),
    "app with a slip": ("space", space, lambda root: write(root, app__py="def f(:\n"), "app.py is not Python"),
    "requirement": ("space", space, lambda root: write(root, requirements__txt="a\n==3\n"), "line 2: '==3'"),
    "no sdk": ("space", space, lambda root: write(root, README__md="---\ntitle: T\n---\n"), "sdk: gradio"),
    "color": (
        "space",
        space,
        lambda root: write(root, README__md=SPACE_CARD.replace("blue", "mauve")),
        "`colorFrom` is one of blue",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_named(name, tmp_path):
    kind, make, spoil, message = DEFECTS[name]
    root = make(tmp_path / "spoiled")
    spoil(root)
    with pytest.raises(PublishError, match=message):
        read_contents(kind, root)


def test_not_a_folder(tmp_path):
    with pytest.raises(PublishError, match="not a folder"):
        read_contents("model", tmp_path / "nothing")


def test_a_card_from_elsewhere_takes_the_place_of_the_folders_own(tmp_path):
    root = model(tmp_path / "m")
    card = tmp_path / "card.md"
    card.write_text("---\ntags: [b]\n---\n")
    assert read_contents("model", root, card).files["README.md"] == card
    (root / "README.md").unlink()
    assert "no model card" in read_contents("model", root).warnings[0]


def test_a_model_that_does_not_load_is_refused_with_the_reason(tmp_path):
    with pytest.raises(PublishError, match="cannot be used as it is: .*model_type"):
        run_trial("model", str(model(tmp_path / "m")))
