"""The build with the real describer, polisher, judges and review behind a local server."""

import json

import pytest

from dataset_scripts.build_config import BuildConfig, BuildError
from dataset_scripts.interpretation import chat_interpreter
from dataset_scripts.pipeline import build
from tests.dataset_scripts.test_interpretation import STATEMENTS, honest
from tests.dataset_scripts.test_pipeline import rows_of
from tests.fixtures.chat_server import refuse, serve
from tests.fixtures.tiny_media import recipe, write_folder


def section(server, tmp_path):
    model = {"kind": "openai", "base_url": server.url, "model": "m", "attempts": 1}
    options = {"describer": model, "judges": [model], "cache": str(tmp_path / "answers.sqlite")}
    return {"interpreter": "dataset_scripts.interpretation:chat_interpreter", "options": options, "threads": 2}


@pytest.mark.usefixtures("without_plots")
def test_statements_that_pass_become_rows_and_the_rest_is_written_down(tmp_path):
    folder = write_folder(tmp_path / "in", photos=1, clips=1)
    with serve(honest) as server:
        config = recipe(folder, interpret=section(server, tmp_path), distort={"variants_per_item": 1})
        build(BuildConfig.from_dict(config), tmp_path / "out")
    rows = [row for (name, _), part in rows_of(tmp_path / "out").items() if name == "description" for row in part]
    assert len(rows) == 2 * 2 * len(STATEMENTS)  # originals, versions
    assert {row["messages"][1]["content"][0]["text"] for row in rows} == set(STATEMENTS)
    assert {row["modality"] for row in rows} == {"image", "video"}
    drops = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert [drop["detail"] for drop in drops] == ["The quality is good. (empty phrase)"] * 4
    assert {drop["reason"] for drop in drops} == {"text: polish"}


def test_a_wrong_key_stops_the_build_and_keeps_what_is_finished(tmp_path):
    folder = write_folder(tmp_path / "in", photos=1, clips=0)
    with serve([refuse(401)]) as server:
        config = BuildConfig.from_dict(recipe(folder, interpret=section(server, tmp_path)))
        with pytest.raises(BuildError, match="(?s)OPENAI_API_KEY.*same command"):
            build(config, tmp_path / "out")
    assert list((tmp_path / "out" / ".staging" / "finished" / "annotate").iterdir())


def test_wrong_settings_are_named():
    with pytest.raises(BuildError, match="lack .*judges"):
        chat_interpreter(describer={})
