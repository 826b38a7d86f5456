"""The builder of Parquet tables: how often it reads what the stages have made."""

import io
import json
from collections import Counter

import datasets
import pytest
from PIL import Image

from dataset_scripts import stages
from dataset_scripts.build_config import BuildConfig
from dataset_scripts.publish import write_tables
from dataset_scripts.schema import CONFIGS
from dataset_scripts.staging import Staging
from dataset_scripts.vital_pairs import filled_shards, shard_rows
from tests.fixtures.tiny_media import recipe


def picture() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "PNG")
    return data.getvalue()


def staged(root, splits: list[str]) -> tuple[Staging, BuildConfig]:
    """Finished stages with a shard for every entry of `splits`: an original of that split and its blurred version."""
    staging, config = Staging(root), BuildConfig.from_dict(recipe(root / "originals"))
    staging.prepare(config)
    for shard, split in enumerate(splits):
        about = dict.fromkeys(stages._ABOUT, "x") | {"item_id": f"{shard:x}", "modality": "image", "split": split}
        steps = [[], [{"type": "gaussian_blur", "family": "blur", "severity": 2}]]
        versions = [
            about | {"variant": number, "steps": steps[number], "data": picture(), "file": f"{number}.png", "fps": 0.0}
            for number in range(2)
        ]
        key = [{"item_id": f"{shard:x}", "variant": number} for number in range(2)]
        opinion = {"scores": json.dumps(dict.fromkeys(config.annotate.names, 0.5)), "errors": "{}", "n_opinions": 3}
        opinion |= {"mos": 0.5, "std": 0.1, "level_probs": [0.2] * 5}
        # The second shard has no score, the third neither tag nor description.
        opinions = [row | opinion | ({"mos": None} if shard == 1 else {}) for row in key]
        texts = [
            row | ({"tag": None, "descriptions": []} if shard == 2 else {"tag": "x", "descriptions": ["y"]})
            for row in key
        ]
        pairs = [{"item_id": f"{shard:x}", "first": 0, "second": 1, "preference": 1.0, "preference_prob": 0.9}]
        for stage, rows in (("distort", versions), ("annotate", opinions), ("interpret", texts)):
            staging.finish(stage, shard, stages.STAGES[stage][1], rows, [], {})
        staging.finish("pair", shard, stages.PAIR_SCHEMA, [] if shard == 1 else pairs, [], {})
    return staging, config


@pytest.fixture
def reads(monkeypatch) -> Counter:
    """(stage, with media) -> times that a shard of it was read."""
    counted, read = Counter(), Staging.read

    def count(self, stage, shard, columns=None):
        counted[stage, columns is None or "data" in columns] += 1
        return read(self, stage, shard, columns)

    monkeypatch.setattr(Staging, "read", count)
    return counted


def test_filled_shards_are_those_with_rows(tmp_path):
    staging, _ = staged(tmp_path, ["train", "test", "train", "validation"])
    filled = filled_shards(staging)
    for config in CONFIGS:
        expected: dict[str, list[int]] = {}
        for shard in range(4):
            for split in {row["split"] for row in shard_rows(config, staging, shard)}:
                expected.setdefault(split, []).append(shard)
        assert filled[config] == expected, config
    assert filled["scoring"] == {"train": [0, 2], "validation": [3]}
    assert filled["description"] == {"train": [0], "test": [1], "validation": [3]}


def test_filled_shards_follow_a_build_that_grows(tmp_path):
    staging, _ = staged(tmp_path, ["train"])
    assert filled_shards(staging)["distortion"] == {"train": [0]}
    staged(tmp_path, ["train", "test"])
    assert filled_shards(staging)["distortion"] == {"train": [0], "test": [1]}


@pytest.mark.parametrize("shards", [1, 4])
def test_a_shard_is_read_once_for_each_table_and_once_to_look(tmp_path, reads, shards):
    """However many shards and splits there are; an original and its versions are of one split."""
    staging, config = staged(tmp_path, ["train", "train", "train", "test"][:shards])
    export = write_tables(staging, config)
    rows = datasets.load_dataset("parquet", data_files=str(export / "data" / "scoring" / "*.parquet"), split="train")
    assert len(rows) == 2 * (shards - (shards > 1))
    tables = {1: 4, 4: 3 + 3 + 3 + 3}[shards]  # each of the four misses a shard where there are four, see `staged`
    assert reads["distort", True] == tables
    assert reads["distort", False] == shards
    assert sum(reads.values()) <= 4 * shards + 3 * tables
