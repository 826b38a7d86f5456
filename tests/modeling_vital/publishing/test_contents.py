"""What is sent of a folder, and what makes it unfit."""

import json
import re

import pyarrow.parquet as pq
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
    root = model(tmp_path / "m", config__json='{"auto_map": {"AutoModel": "own.Model"}}')
    (root / "own.py").write_text("from .other import x")
    (root / "other.py").write_text("x = 1")
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
        "other.py",
        "own.py",
    ]
    assert contents.left_out == [".DS_Store", ".env", ".git/", "__pycache__/", "sub folder/b.py"]
    assert contents.size_bytes == sum(path.stat().st_size for path in contents.files.values())
    assert contents.warnings == []


LEFT_BY_TRAINING = """
optimizer.pt scheduler.pt rng_state.pth training_args.bin trainer_state.json pytorch_model.bin curves.png events.out
checkpoint-20/model.safetensors checkpoint-20/optimizer.pt checkpoint-20/config.json adapter/adapter_config.json
rated-0123/README.md rated-0123/data/train.parquet runs/events.out.tfevents.1 wandb/debug.log global_step20/mp_rank.pt
notes.txt backup/model.safetensors debug.py photos/a.jpg
""".split()


def test_what_training_left_behind_stays_and_is_named(tmp_path):
    root = model(tmp_path / "m", recipe__yaml="a: 1")
    for name in LEFT_BY_TRAINING:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    contents = read_contents("model", root)
    assert list(contents.files) == ["README.md", "config.json", "model.safetensors", "recipe.yaml"]
    assert contents.left_out == sorted(LEFT_BY_TRAINING)
    assert "notes.txt" in read_contents("model", root, also=["notes.txt"]).files
    with pytest.raises(PublishError, match="gone.txt"):
        read_contents("model", root, also=["gone.txt"])


def test_pictures_that_the_card_shows_are_sent(tmp_path):
    root = model(tmp_path / "m", README__md='---\ntags: [a]\n---\n![Curves](curves.png) <img src="./b.svg">\n')
    for name in ("curves.png", "b.svg", "c.png"):
        (root / name).write_text("x")
    assert {"curves.png", "b.svg"} <= set(read_contents("model", root).files)
    assert read_contents("model", root).left_out == ["c.png"]


def test_of_a_data_set_and_a_space_what_does_not_belong_stays(tmp_path):
    root = dataset(tmp_path / "d", dropped__jsonl="{}", build__json="{}", statistics__json="{}", id_rsa="x")
    (root / "data" / "deep").mkdir(parents=True)
    (root / "data" / "deep" / "a.parquet").write_bytes(b"PAR1rowsPAR1")
    contents = read_contents("dataset", root)
    assert list(contents.files) == ["README.md", "data/deep/a.parquet", "rows.parquet", "statistics.json"]
    assert contents.left_out == ["build.json", "dropped.jsonl", "id_rsa"]
    root = space(tmp_path / "s", model__safetensors="x", training_args__bin="x", ui__py="y = 1")
    assert read_contents("space", root).left_out == ["model.safetensors", "training_args.bin"]


SECRETS = {
    "credentials.json": "{}",
    "secrets.py": "x = 1",
    "token_store.json": "{}",
    "prod.env.json": "{}",
    "my_credentials.yaml": "a: 1",
    "SECRETS.TOML": "a = 1",
    "config_keys.py": "KEY = 'hf_" + "a1B2" * 9 + "'",
    "notes.md": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "cloud.yaml": "id: AKIA" + "A1B2" * 4,
}


@pytest.mark.parametrize("name", SECRETS)
def test_what_looks_like_a_secret_stops_the_push_unless_named(name, tmp_path):
    root = space(tmp_path / "s")
    (root / "sub").mkdir()
    for place in (name, f"sub/{name}"):
        (root / place).write_text(SECRETS[name])
        with pytest.raises(PublishError, match=f"{re.escape(place)} .*--also"):
            read_contents("space", root)
        assert place in read_contents("space", root, also=[place]).files
        (root / place).unlink()


@pytest.mark.parametrize("name", ["id_rsa", "id_ed25519", "server.pem", "token", "token.txt", "my.env", "secrets.bin"])
@pytest.mark.parametrize(("kind", "make"), [("model", model), ("dataset", dataset), ("space", space)])
def test_secrets_that_belong_to_nothing_are_not_sent(kind, make, name, tmp_path):
    root = make(tmp_path / "r")
    (root / name).write_text("x")
    try:
        assert name not in read_contents(kind, root).files
    except PublishError as error:
        assert name in str(error)


def test_a_token_in_a_models_settings_stops_the_push(tmp_path):
    root = model(tmp_path / "m", recipe__yaml="hub_token: hf_" + "a1B2" * 9)
    with pytest.raises(PublishError, match="recipe.yaml"):
        read_contents("model", root)


def test_the_files_of_a_tokenizer_are_no_secrets(tmp_path):
    names = [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "tokenizer.model",
    ]
    root = model(tmp_path / "m")
    for name in names:
        (root / name).write_text("{}")
    assert set(names) <= set(read_contents("model", root).files)


@pytest.mark.parametrize(
    ("kind", "make", "name"),
    [
        ("model", model, "config.json"),
        ("dataset", dataset, "rows.parquet"),
        ("space", space, "app.py"),
    ],
)
def test_a_link_out_of_the_folder_stops_the_push_unless_named(kind, make, name, tmp_path):
    root = make(tmp_path / "r")
    (tmp_path / "elsewhere").mkdir()
    (root / name).rename(tmp_path / "elsewhere" / name)
    (root / name).symlink_to(tmp_path / "elsewhere" / name)
    with pytest.raises(PublishError, match=f"{name} .*link.*--also"):
        read_contents(kind, root)
    assert name in read_contents(kind, root, also=[name]).files
    (root / name).unlink()
    (tmp_path / "elsewhere" / name).rename(root / f"real-{name}")
    (root / name).symlink_to(root / f"real-{name}")
    assert name in read_contents(kind, root).files


def test_paths_of_this_machine_are_warned_of(tmp_path):
    root = model(tmp_path / "m", recipe__yaml="dataset: /home/someone/photos.csv")
    (warning,) = read_contents("model", root).warnings
    assert "recipe.yaml names /home/someone/photos.csv" in warning
    card = "---\ntags: [a]\n---\nSee https://example.org/home/x and docs/data/y, or `runs/mine`.\n"
    assert read_contents("model", model(tmp_path / "n", README__md=card)).warnings == []


def test_a_data_set_that_points_to_files_of_this_machine_is_refused(tmp_path):
    import datasets

    root = dataset(tmp_path / "d")
    (root / "rows.parquet").unlink()
    for features, value in (
        ({"image": datasets.Image()}, {"bytes": None, "path": str(tmp_path / "a.png")}),
        ({"images": datasets.List(datasets.Image())}, [{"bytes": None, "path": str(tmp_path / "a.png")}]),
        ({"clip": datasets.Video(decode=False)}, {"bytes": None, "path": str(tmp_path / "a.png")}),
    ):
        (name,) = features
        rows = datasets.Dataset.from_list([{name: value}], datasets.Features(features))
        pq.write_table(rows.data.table, root / "a.parquet")
        with pytest.raises(PublishError, match="a.parquet .*a.png"):
            read_contents("dataset", root)


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
    "index cut off": (
        "model",
        model,
        lambda root: write(root, model__safetensors__index__json='{"weight'),
        "model.safetensors.index.json",
    ),
    "index of nothing": (
        "model",
        model,
        lambda root: write(root, model__safetensors__index__json='{"weight_map": []}'),
        "model.safetensors.index.json",
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
    with pytest.raises(PublishError, match="nothing .*folder"):
        read_contents("model", tmp_path / "nothing")


def test_pictures_beside_a_card_from_elsewhere_are_sent_with_it(tmp_path):
    root, cards = model(tmp_path / "m"), tmp_path / "cards"
    write(cards, card__md="---\ntags: [b]\n---\n![a photo](hero.jpg)\n", hero__jpg="a", other__jpg="b")
    files = read_contents("model", root, cards / "card.md").files
    assert files["hero.jpg"] == cards / "hero.jpg" and "other.jpg" not in files
    (cards / "hero.jpg").unlink()
    (tmp_path / "elsewhere").write_text("c")
    (cards / "hero.jpg").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PublishError, match="hero.jpg"):
        read_contents("model", root, cards / "card.md")


def test_a_card_from_elsewhere_takes_the_place_of_the_folders_own(tmp_path):
    root = model(tmp_path / "m")
    card = tmp_path / "card.md"
    card.write_text("---\ntags: [b]\n---\n")
    assert read_contents("model", root, card).files["README.md"] == card
    (root / "README.md").unlink()
    assert "no model card" in read_contents("model", root).warnings[0]


def test_a_model_that_does_not_load_is_refused_with_the_reason(tmp_path):
    with pytest.raises(PublishError, match="model_type"):
        run_trial("model", str(model(tmp_path / "m")))


def test_a_calibration_goes_with_the_weights(tmp_path):
    from modeling_vital.calibration_vital import CALIBRATION_NAME

    for name in ("config.json", CALIBRATION_NAME):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert CALIBRATION_NAME in read_contents("model", tmp_path).files
