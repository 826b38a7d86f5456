"""One rule for ids on the Hub, wherever a name may be one."""

import pytest

from modeling_vital import zoo
from modeling_vital.cli.main import main
from modeling_vital.conversion.errors import ConversionUsageError
from modeling_vital.conversion.source import open_source
from modeling_vital.hub_ids import is_hub_id
from modeling_vital.manifest_paths import missing_folder


NONE = ("word", "a/b/c", "./a", "a/", "org/na me", "org/n--x", "a/b.git", "a/..")


def test_ids():
    assert all(map(is_hub_id, ("org/name", "o-1/n.2_b", "A/b")))
    assert not any(map(is_hub_id, NONE))


@pytest.mark.parametrize("name", ["org/n--x", "a/b.git"])
def test_what_the_hub_refuses_is_refused_before_it_is_asked(name, tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=name):
        zoo.resolve(name)
    with pytest.raises(ConversionUsageError, match=name):
        open_source(name)
    assert name in missing_folder(name)
    assert main(["push", "dataset", str(tmp_path), name]) == 2 and name in caplog.text
