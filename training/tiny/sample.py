"""Fresh rows that are kept: a data set for what reads stored rows, such as the linear probe."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from dataset_scripts.encoding import encode_clip, encode_image
from dataset_scripts.rows import media_columns, score_text
from modeling_vital.publishing.data_card import card_text
from modeling_vital.whole_files import whole_folder
from training.own_ratings import FEATURES
from training.tiny.groups import FreshGroups


CLIP_FPS, CLIP_CRF = 12.0, 4


def write_sample(tables: dict[str, FreshGroups], groups: dict[str, int], folder: Path) -> Path:
    """Writes the scoring rows of the first groups of each table, one in eight held out, unless they are there.

    Args:
        tables (`dict[str, FreshGroups]`): by name.
        groups (`dict[str, int]`): how many of each.
        folder (`Path`): data set to write; it appears only once it is whole.
    """
    if (folder / "README.md").exists():
        return folder
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for name, count in groups.items():
        for index in tqdm(range(count), desc=f"sample of {name}", unit="group"):
            split = "validation" if index % 8 == 7 else "train"
            rows[split] += scoring_rows_of(tables[name][index], split)
    with whole_folder(folder) as unfinished:
        for split, chosen in rows.items():
            table = pa.Table.from_pylist(chosen, schema=FEATURES.arrow_schema)
            pq.write_table(table, unfinished / f"{split}.parquet", row_group_size=100)
        text = card_text({"scoring": {split: f"{split}.parquet" for split in rows}})
        (unfinished / "README.md").write_text(text, encoding="utf-8")
    return folder


def scoring_rows_of(group: dict[str, Any], split: str) -> list[dict[str, Any]]:
    """The scoring rows of a group, its pictures and clips encoded without loss or nearly so."""
    rows = []
    for place, source in enumerate([*group["images"], *group["videos"]]):
        media = {"bytes": _encode(source["pixels"]), "path": None}
        rows.append(
            {
                "id": f"{group['id']}-v{place}",
                **media_columns(group["modality"], [media], [score_text(group["modality"], group["mos"][place])]),
                "content_id": group["id"],
                "split": split,
                **{name: group[name][place] for name in ("mos", "std", "level_probs")},
            }
        )
    return rows


def _encode(pixels: np.ndarray) -> bytes:
    if pixels.ndim == 3:
        return encode_image(pixels)
    even = pixels[:, : pixels.shape[1] // 2 * 2, : pixels.shape[2] // 2 * 2]
    return encode_clip(even, CLIP_FPS, CLIP_CRF)
