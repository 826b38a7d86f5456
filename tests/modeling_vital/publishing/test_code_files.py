"""The code a model is published with: its own, or the package's, never half of each."""

import json
import shutil
from pathlib import Path

import pytest

from modeling_vital import zoo
from modeling_vital.publishing.code_files import code_files, laid_out
from modeling_vital.publishing.contents import read_contents
from modeling_vital.publishing.errors import PublishError
from tests.fixtures.tiny_models import tiny_model


def listed(folder):
    return {path.name: path for path in Path(folder).iterdir()}


def test_a_folder_without_code_is_sent_with_the_code_that_saving_writes(tmp_path):
    tiny_model().save_pretrained(tmp_path / "saved")
    shutil.copytree(tmp_path / "saved", tmp_path / "bare", ignore=shutil.ignore_patterns("*.py"))
    added = code_files(listed(tmp_path / "bare"))
    assert {name: path.read_bytes() for name, path in added.items()} == {
        path.name: path.read_bytes() for path in (tmp_path / "saved").glob("*.py")
    }
    assert code_files(listed(tmp_path / "saved")) == {}


@pytest.mark.parametrize("name", zoo.EMBEDDED)
def test_embedded_checkpoints_are_sent_with_code(name):
    files = read_contents("model", Path(zoo.resolve(name))).files
    assert {"modeling_vital.py", "configuration_vital.py", "processing_vital.py", "media_vital.py"} <= set(files)
    assert not list(Path(zoo.resolve(name)).glob("*.py"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auto_map": {"AutoModel": "nobodys.Model"}}, "nobodys.py"),
        ({"sub": {"auto_map": {"AutoTokenizer": ["nobodys.Slow", None]}}}, "nobodys.py"),
        ({"custom_pipelines": {"a": {"impl": "nobodys.Pipeline"}}}, "nobodys.py"),
    ],
)
def test_code_that_is_nowhere_is_named(settings, message, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(PublishError, match=message):
        code_files(listed(tmp_path))


def test_half_of_the_code_is_refused(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    (tmp_path / "processing_vital.py").unlink()
    with pytest.raises(PublishError, match="processing_vital.py"):
        code_files(listed(tmp_path))


def test_another_repositorys_code_is_left_to_it(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "org/other--modeling.Model"}}))
    assert code_files(listed(tmp_path)) == {}


def test_the_laid_out_folder_holds_what_is_sent_and_is_removed(tmp_path):
    (tmp_path / "a").write_text("1")
    with laid_out({"sub/b": tmp_path / "a"}) as folder:
        assert (folder / "sub" / "b").read_text() == "1"
    assert not folder.exists() and (tmp_path / "a").exists()
