"""The validator passes a sound data set and catches each defect by name."""

import copy
import shutil

import datasets
import pytest

from dataset_scripts.build_config import BuildConfig
from dataset_scripts.pipeline import build
from dataset_scripts.schema import check_row, row_features
from dataset_scripts.validator import data_files, validate
from tests.fixtures.tiny_media import recipe, write_folder


NAMES = ["gmsd", "mdsi", "haarpsi", "frame_gmsd", "frame_mdsi", "frame_haarpsi"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small data set, and its rows by configuration and split."""
    root = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataset_scripts.publish.draw_plots", lambda numbers, folder: {})
        build(BuildConfig.from_dict(recipe(write_folder(root / "in"))), root / "out")
    rows = {}
    for config, splits in data_files(root / "out").items():
        for split, paths in splits.items():
            rows[config, split] = datasets.Dataset.from_parquet(
                [str(path) for path in paths], cache_dir=str(root / "cache")
            ).with_format("arrow")
    return root / "out", rows


def raw_rows(sound, config, split="train"):
    return copy.deepcopy(sound[1][config, split][:].to_pylist())


def test_a_sound_data_set_passes(sound):
    report = validate(sound[0])
    assert report.ok and not report.warnings
    assert set(report.rows) == {"scoring", "pairwise", "distortion"}
    assert report.rows["scoring"] == 5 * 5
    assert list(report.lines())[-1] == "the data set is sound"


def broken(sound, tmp_path, config, change, split="train"):
    """Kinds of errors after `change` was done to the rows of one file."""
    folder = tmp_path / "broken"
    shutil.copytree(sound[0], folder)
    rows = raw_rows(sound, config, split)
    change(rows)
    path = data_files(folder)[config][split][0]
    datasets.Dataset.from_list(rows, features=row_features(config, NAMES)).to_parquet(path)
    report = validate(folder)
    assert not report.ok or report.warnings
    assert list(report.lines())[-1] != "the data set is sound" or report.ok
    return set(report.errors), set(report.warnings)


def picture(rows):
    """The first row of a picture."""
    return next(row for row in rows if row["modality"] == "image")


def set_first(column, value):
    return lambda rows: picture(rows).update({column: value})


def edit_first(column, edit):
    return lambda rows: edit(picture(rows)[column])


SCORING_DEFECTS = {
    "no id": set_first("id", ""),
    "no license": set_first("license", ""),
    "no content_id": set_first("content_id", ""),
    "no source": set_first("source", ""),
    "split": set_first("split", "test"),
    "repeated id": lambda rows: rows[1].update(id=rows[0]["id"]),
    "n_opinions": set_first("n_opinions", 1),
    "score out of range": edit_first("annotators", lambda a: a.update(gmsd=1.5)),
    "mos out of range": set_first("mos", 1.2),
    "level_probs": set_first("level_probs", [0.5, 0.2, 0.2, 0.2, 0.2]),
    "expectation": lambda rows: rows[0].update(level_probs=rows[0]["level_probs"][::-1]),
    "answer": edit_first("messages", lambda m: m[1]["content"][0].update(text="The quality of the image is superb")),
    "messages": edit_first("messages", lambda m: m.reverse()),
    "distortion": set_first("distortion", {"type": "fog", "family": "weather", "severity": 2}),
    "media": edit_first("images", lambda images: images[0].update(bytes=images[0]["bytes"][:200])),
}


@pytest.mark.parametrize("kind", SCORING_DEFECTS)
def test_each_defect_of_a_scoring_row_is_caught(sound, tmp_path, kind):
    errors, _ = broken(sound, tmp_path, "scoring", SCORING_DEFECTS[kind])
    assert kind in errors


PAIR_DEFECTS = {
    "preference": lambda rows: rows[0].update(preference=1.0 - rows[0]["preference"]),
    "pair": edit_first("mos", lambda mos: mos.pop()),
    "media": edit_first("images", lambda images: images.pop()),
    "answer": edit_first("mos", lambda mos: mos.reverse()),
}


@pytest.mark.parametrize("kind", PAIR_DEFECTS)
def test_each_defect_of_a_pair_is_caught(sound, tmp_path, kind):
    decided = [row for row in raw_rows(sound, "pairwise") if row["preference"] != 0.5 and row["modality"] == "image"]
    assert decided

    def change(rows):
        rows[:] = decided
        PAIR_DEFECTS[kind](rows)

    errors, _ = broken(sound, tmp_path, "pairwise", change)
    assert kind in errors


def test_a_probability_that_the_opinions_do_not_give_is_caught(sound):
    row = raw_rows(sound, "pairwise")[0]
    assert not list(check_row("pairwise", row))
    row["preference_prob"] += 0.01
    assert [kind for kind, _ in check_row("pairwise", row)] == ["preference"]


def test_severity_and_family_are_checked(sound):
    row = next(row for row in raw_rows(sound, "distortion") if row["distortion"]["type"])
    assert not list(check_row("distortion", row))
    row["distortion"] |= {"severity": 6, "family": "taste"}
    assert [kind for kind, _ in check_row("distortion", row)] == ["distortion", "distortion"]


def test_one_original_in_two_splits_is_caught(sound, tmp_path):
    other = raw_rows(sound, "distortion", "test")[0]["content_id"]
    errors, _ = broken(sound, tmp_path, "scoring", set_first("content_id", other))
    assert "content in two splits" in errors


def test_wrong_modality_and_missing_bytes_are_caught(sound, tmp_path):
    clip = next(
        row for (c, _), part in sound[1].items() if c == "scoring" for row in part[:].to_pylist() if row["videos"]
    )

    def swap(rows):
        rows[:] = [row for row in rows if row["modality"] == "image"]
        rows[0]["images"] = [{"bytes": clip["videos"][0]["bytes"], "path": "a.webp"}]
        rows[1]["images"] = [{"bytes": b"", "path": "b.webp"}]

    errors, _ = broken(sound, tmp_path, "scoring", swap)
    assert "media" in errors


def test_an_unknown_licence_and_a_failed_annotator_are_warnings(sound, tmp_path):
    def change(rows):
        rows[0]["license"] = "unknown"
        rows[1]["annotator_errors"] = [{"annotator": "gmsd", "error": "out of order"}]

    errors, warnings = broken(sound, tmp_path, "scoring", change)
    assert not errors and warnings == {"licence unknown", "an annotator gave no opinion"}


def test_columns_and_types_are_checked(sound, tmp_path):
    for name, change in (
        ("without", lambda rows: rows.remove_columns("license")),
        ("more", lambda rows: rows.add_column("extra", [1] * len(rows))),
        ("other", lambda rows: rows.cast_column("mos", datasets.Value("float32"))),
    ):
        folder = tmp_path / name
        shutil.copytree(sound[0], folder)
        path = data_files(folder)["scoring"]["train"][0]
        rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
        change(rows).to_parquet(path)
        assert "columns" in validate(folder).errors, name


def test_a_damaged_file_is_named_and_an_empty_folder_refused(sound, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(sound[0], folder)
    path = data_files(folder)["scoring"]["train"][0]
    path.write_bytes(path.read_bytes()[:1000])
    report = validate(folder)
    assert path.name in report.errors["unreadable file"].examples[0]
    with pytest.raises(FileNotFoundError, match="SPLIT"):
        validate(tmp_path / "nothing")


def test_an_unknown_configuration_is_refused():
    with pytest.raises(ValueError, match="'all'"):
        row_features("all", NAMES)
