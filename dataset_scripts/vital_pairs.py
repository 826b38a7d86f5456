"""The `datasets` builder: finished stages -> one Parquet configuration.

Imported as a library (loading scripts are refused by `datasets`); what it writes loads without it:

    >>> from dataset_scripts.vital_pairs import VitalPairs
    >>> builder = VitalPairs(config_name="scoring", staging="pairs/.staging", cache_dir="cache")  # doctest: +SKIP
    >>> builder.download_and_prepare("pairs/data/scoring", file_format="parquet")  # doctest: +SKIP
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from dataset_scripts.build_config import SPLITS, BuildConfig
from dataset_scripts.rows import NO_DISTORTION, distortion_text, media_columns, score_text
from dataset_scripts.schema import CONFIGS, row_features
from dataset_scripts.stages import variant_id
from dataset_scripts.staging import CONFIG_NAME, Staging


VERSION = datasets.Version("1.0.0")
"""Version of the row contract."""
_FILLED = "filled_shards"
"""Name in a staging folder of what [`filled_shards`] found."""


@dataclass
class VitalPairsConfig(datasets.BuilderConfig):
    """Configuration of [`VitalPairs`].

    Args:
        staging (`str`): folder of a build whose stages are finished, see `dataset_scripts.pipeline.run_stages`.
    """

    staging: str = ""


class VitalPairs(datasets.GeneratorBasedBuilder):
    """Rows of one configuration, in the order of the originals and of their versions. Only splits with rows exist.

    Raises:
        ValueError: `staging` holds no build.
    """

    BUILDER_CONFIG_CLASS = VitalPairsConfig
    BUILDER_CONFIGS = [VitalPairsConfig(name=name, version=VERSION) for name in CONFIGS]
    DEFAULT_WRITER_BATCH_SIZE = 50  # rows a row group: they hold whole pictures and clips

    def _info(self) -> datasets.DatasetInfo:
        self._staging = Staging(Path(self.config.staging))
        parts = self._staging.parts
        if not self.config.staging or not parts.begun:
            raise ValueError(f"no build in staging={self.config.staging!r}; make one with pipeline.run_stages")
        build = BuildConfig.from_dict(parts.read(CONFIG_NAME))
        return datasets.DatasetInfo(features=row_features(self.config.name, build.annotate.names))

    @property
    def filled_shards(self) -> dict[str, list[int]]:
        """Split -> the shards of the build that hold rows of it; without empty splits."""
        return filled_shards(self._staging)[self.config.name]

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"shards": shards, "split": split})
            for split, shards in self.filled_shards.items()
        ]

    def _generate_examples(self, shards: list[int], split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for shard in shards:
            for row in shard_rows(self.config.name, self._staging, shard):
                if row["split"] == split:
                    yield row["id"], row


def filled_shards(staging: Staging) -> dict[str, dict[str, list[int]]]:
    """Shards of a build that hold rows, for all configurations at once.

    The shards are read once, without media, however many builders ask: what was found is kept beside them.

    Args:
        staging (`Staging`): a build whose stages are finished.

    Returns:
        `dict`: configuration -> split -> numbers of the shards; without empty splits.
    """
    shards, parts = staging.count("pair"), staging.parts
    if _FILLED in parts and (found := parts.read(_FILLED))["shards"] == shards:
        return found["filled"]
    filled: dict[str, dict[str, list[int]]] = {name: {split: [] for split in SPLITS} for name in CONFIGS}
    for shard in range(shards):
        for name, splits in _splits_of(staging, shard).items():
            for split in splits:
                filled[name][split].append(shard)
    filled = {name: {split: found for split, found in splits.items() if found} for name, splits in filled.items()}
    parts.finish(_FILLED, {"shards": shards, "filled": filled})
    return filled


def _splits_of(staging: Staging, shard: int) -> dict[str, set[str]]:
    """Configuration -> splits of which a shard has rows."""
    versions = staging.read("distort", shard, ["item_id", "split"])
    opinions = staging.read("annotate", shard, ["mos"])
    texts = staging.read("interpret", shard, ["tag", "descriptions"])
    split_of = {version["item_id"]: version["split"] for version in versions}
    return {
        "scoring": {v["split"] for v, o in zip(versions, opinions, strict=True) if o["mos"] is not None},
        "pairwise": {split_of[pair["item_id"]] for pair in staging.read("pair", shard, ["item_id"])},
        "distortion": {v["split"] for v, text in zip(versions, texts, strict=True) if text["tag"] is not None},
        "description": {v["split"] for v, text in zip(versions, texts, strict=True) if text["descriptions"]},
    }


def shard_rows(config: str, staging: Staging, shard: int) -> Iterator[dict[str, Any]]:
    """Rows of one configuration from one shard of a build, of all splits.

    Args:
        config (`str`): one of `CONFIGS`.
        staging (`Staging`): a build whose stages are finished.
        shard (`int`): number.

    Yields:
        `dict`: with the columns of [`dataset_scripts.schema.row_features`], media as `{"bytes", "path"}`.
    """
    versions = staging.read("distort", shard)
    opinions = staging.read("annotate", shard)
    if config == "pairwise":
        known = {(v["item_id"], v["variant"]): (v, o) for v, o in zip(versions, opinions, strict=True)}
        for pair in staging.read("pair", shard):
            yield _pair_row(pair, known[pair["item_id"], pair["first"]], known[pair["item_id"], pair["second"]])
        return
    for version, opinion, text in zip(versions, opinions, staging.read("interpret", shard), strict=True):
        if config == "scoring" and opinion["mos"] is not None:
            answers = [score_text(version["modality"], opinion["mos"])]
            yield _common([version], variant_id(version), answers) | _opinion(version, opinion)
        elif config == "distortion" and text["tag"] is not None:
            answers = [distortion_text(version["modality"], text["tag"])]
            yield _common([version], variant_id(version), answers) | {"distortion": _distortion(version)}
        elif config == "description":
            for number, words in enumerate(text["descriptions"]):
                yield _common([version], f"{variant_id(version)}-d{number}", [words])


def _common(versions: list[dict[str, Any]], row_id: str, answers: list[str]) -> dict[str, Any]:
    """The columns that every configuration has."""
    first = versions[0]
    media = [{"bytes": version["data"], "path": version["file"]} for version in versions]
    return {
        "id": row_id,
        **media_columns(first["modality"], media, answers),
        "source": first["source"],
        "license": first["license"],
        "content_id": first["content_id"],
        "split": first["split"],
        "provenance": {
            "name": first["name"],
            "sha256": first["sha256"],
            "details": first["details"],
            "steps": [version["steps"] for version in versions],
        },
    }


def _distortion(version: dict[str, Any]) -> dict[str, Any]:
    """The one thing done to a version; `None` throughout for the original and for a chain (see `provenance`)."""
    if len(version["steps"]) == 1:
        return version["steps"][0]
    return dict(NO_DISTORTION)


def _opinion(version: dict[str, Any], opinion: dict[str, Any]) -> dict[str, Any]:
    errors = json.loads(opinion["errors"])
    return {
        "annotators": json.loads(opinion["scores"]),
        "annotator_errors": [{"annotator": name, "error": errors[name]} for name in sorted(errors)],
        **{name: opinion[name] for name in ("n_opinions", "mos", "std", "level_probs")},
        "distortion": _distortion(version),
    }


def _pair_row(pair: dict[str, Any], *sides: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    versions = [version for version, _ in sides]
    opinions = [_opinion(version, opinion) for version, opinion in sides]
    row_id = f"{pair['item_id']}-v{pair['first']}-v{pair['second']}"
    answers = [score_text(version["modality"], opinion["mos"]) for version, opinion in sides]
    return {
        **_common(versions, row_id, answers),
        **{name: [opinion[name] for opinion in opinions] for name in opinions[0]},
        "preference": pair["preference"],
        "preference_prob": pair["preference_prob"],
    }
