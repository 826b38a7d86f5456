"""Pictures and clips of one's own with human ratings: a CSV or Parquet file becomes a data set to train on.

    path,mos,std
    photos/a.jpg,3.8,0.6
    clips/b.mp4,2.1,0.9

Paths are relative to the file. Instead of `path`, a Parquet file may hold the encoded media in `image` or `video`.
`std` may be missing; `content_id` (what was made from one original) and `split` are used where they are there. Other
columns are not read.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value, Video
from tqdm.auto import tqdm

from dataset_scripts.pmod import pmod_from_moments
from dataset_scripts.rows import media_columns, score_text
from modeling_vital.manifest_paths import resolve_entry
from modeling_vital.media_vital import Clip, MediaError, load_media
from modeling_vital.publishing.data_card import card_text
from modeling_vital.table_file import TableFile, as_number
from modeling_vital.whole_files import whole_folder


logger = logging.getLogger(__name__)

SUFFIXES = (".csv", ".parquet")
MEDIA_COLUMNS = ("path", "image", "video")
KNOWN_RANGES = ((0.0, 1.0), (1.0, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (0.0, 100.0))
"""Rating scales that are recognised, the narrowest first."""

_LABELS = ("mos", "std", "content_id", "split")
_BATCH = 64  # rows whose media are in memory at once
_STRING, _REAL = Value("string"), Value("float64")
FEATURES = Features(
    {
        "id": _STRING,
        "modality": _STRING,
        "images": List(Image()),
        "videos": List(Video(decode=False)),
        "messages": List({"role": _STRING, "content": List({"type": _STRING, "text": _STRING})}),
        "content_id": _STRING,
        "split": _STRING,
        "mos": _REAL,
        "std": _REAL,
        "level_probs": List(_REAL),
    }
)
"""Columns of the rows that are made: those of a scoring row of `vital-pairs`, without annotators."""


class ManifestError(ValueError):
    """A file of ratings cannot be used; the message lists all that is wrong in it."""


@dataclass(frozen=True)
class ManifestSettings:
    """Settings for reading ratings.

    Attributes:
        mos_range (`tuple[float, float]` or `None`): the worst and the best rating; the first may be the larger, where
            less is better. `None`: the narrowest of `KNOWN_RANGES` that holds all.
        held_out_share (`float`): of the contents, for evaluation; not used where there is a column `split`.
        train_split, eval_split (`str`): names of the two.
        seed (`int`): chooses what is held out.
        allow_outside (`bool`): whether a path may lead out of the folder of the file, see [`resolve_entry`].
    """

    mos_range: tuple[float, float] | None = None
    held_out_share: float = 0.2
    train_split: str = "train"
    eval_split: str = "validation"
    seed: int = 0
    allow_outside: bool = False


def is_manifest(dataset: str | None) -> bool:
    """Returns `True` if `dataset` names a file of ratings rather than a data set."""
    return dataset is not None and dataset.lower().endswith(SUFFIXES)


def import_manifest(manifest: Path, root: Path, settings: ManifestSettings) -> Path:
    """Makes a data set with the configuration `scoring` from a file of ratings, unless it is there already.

    Every picture and clip is opened once, so that all bad rows come to light before training. The data set refers to
    files by their absolute path and holds no copy of them; media inside a Parquet file are copied.

    Args:
        manifest (`Path`): CSV or Parquet file.
        root (`Path`): folder in which the folder of the data set is made.
        settings (`ManifestSettings`): how ratings are read.

    Returns:
        `Path`: folder of the data set; its name is made from the content of the manifest, its files and the settings.

    Raises:
        ManifestError: rows are not usable; it names each.
    """
    if not manifest.is_file():
        raise ManifestError(f"There is no file {manifest}.")
    labels = _read_labels(manifest)
    problems: dict[str, list[str]] = {}
    for label in labels:
        _find_file(manifest, label, settings, problems)
    folder = root / f"rated-{_fingerprint(manifest, labels, settings)}"
    if (folder / "README.md").exists():
        return folder
    for label in labels:
        if found := _label_problems(label, settings):
            problems.setdefault(label["place"], []).extend(found)
    _find_duplicates(manifest, labels, problems)
    low, high = _range(labels, settings, manifest)
    for label in labels:
        if label["mos"] is not None and not min(low, high) <= label["mos"] <= max(low, high):
            problems.setdefault(label["place"], []).append(f"mos {label['mos']:g} is outside [{low:g}, {high:g}]")
    _assign_splits(labels, settings)
    with whole_folder(folder) as unfinished:
        _write(manifest, labels, (low, high), settings, unfinished, problems)
        if problems:
            lines = [f"{place}: {'; '.join(found)}" for place, found in problems.items()]
            raise ManifestError(f"Rows of {manifest} that cannot be used: {len(lines)}\n  " + "\n  ".join(lines))
    return folder


def _read_labels(manifest: Path) -> list[dict[str, Any]]:
    """All columns but the media of each row: `place` for messages, `path` where there is one, and the labels."""
    in_parquet = manifest.suffix.lower() == ".parquet"
    wanted = MEDIA_COLUMNS if in_parquet else MEDIA_COLUMNS[:1]
    table = TableFile(manifest, ["mos"], ["path", *_LABELS], error=ManifestError)
    if len([name for name in MEDIA_COLUMNS if name in table.columns]) != 1 or not set(wanted) & set(table.columns):
        raise ManifestError(
            f"{manifest} has the columns {', '.join(table.columns)}; it needs `mos` and one of {', '.join(wanted)}, "
            "and may have std, content_id and split."
        )
    if unread := [name for name in table.columns if name not in (*MEDIA_COLUMNS, *_LABELS)]:
        logger.info("Columns of %s that are not read: %s.", manifest, ", ".join(unread))
    labels = []
    for row in table:
        cells = row.cells or dict.fromkeys(table.columns)
        label = {name: cell.strip() if isinstance(cell, str) else cell for name, cell in cells.items()}
        cut_short = not in_parquet and None in label.values()
        label["row"] = row.error or ("has fewer cells than the header" if cut_short else None)
        for name in ("mos", "std"):
            label[f"{name}_given"], label[name] = label.get(name), as_number(label.get(name))
        given = label.get("content_id")
        label["content_id"] = None if given in (None, "") else str(given)
        labels.append({**label, "place": f"{row.place} ({label.get('path') or 'inside' * in_parquet})"})
    if not labels:
        raise ManifestError(f"{manifest} has no row.")
    return labels


def _label_problems(label: dict[str, Any], settings: ManifestSettings) -> list[str]:
    found = [label["row"]] if label["row"] else []
    if label["mos"] is None:
        found.append(f"mos is {label['mos_given']!r}, not a number")
    if label["std_given"] not in (None, "") and (label["std"] is None or label["std"] < 0):
        found.append(f"std is {label['std_given']!r}, not a number from 0 on")
    names = (settings.train_split, settings.eval_split)
    if "split" in label and label["split"] not in names:
        found.append(f"split is {label['split']!r}, not {' or '.join(names)}")
    if "path" in label and not label["path"]:
        found.append("no path")
    return found


def _find_file(manifest: Path, label: dict[str, Any], settings: ManifestSettings, problems: dict) -> None:
    """Fills in `file`, what the row's path stands for; a path that must not be followed is a problem."""
    label["file"] = None
    if path := label.get("path"):
        try:
            label["file"] = resolve_entry(manifest.resolve().parent, path, allow_outside=settings.allow_outside)
        except MediaError as error:
            hint = " (`allow_outside`)" if "leads out of" in str(error) else ""
            problems.setdefault(label["place"], []).append(f"{error}{hint}")


def _find_duplicates(manifest: Path, labels: list[dict[str, Any]], problems: dict[str, list[str]]) -> None:
    """Files that are there twice: by two names, or as copies. Copies rated alike become one content."""
    copies = _copied_files(labels, problems) if "path" in labels[0] else _copied_media(manifest, labels)
    for alike in copies:
        _join_copies(alike, problems)


def _copied_files(labels: list[dict[str, Any]], problems: dict[str, list[str]]) -> Iterator[list[dict[str, Any]]]:
    """Rows whose files have the same content; a file that two rows name is a problem."""
    first: dict[str, str] = {}
    by_size: dict[int, list[dict[str, Any]]] = {}
    for label in labels:
        if file := label["file"]:
            place = first.setdefault(os.path.realpath(file), label["place"])
            if place != label["place"]:
                problems.setdefault(label["place"], []).append(f"the same file as {place}: give one row a file")
            elif os.path.isfile(file):
                by_size.setdefault(os.stat(file).st_size, []).append(label)
    for alike in by_size.values():
        by_digest: dict[str, list[dict[str, Any]]] = {}
        for label in alike if len(alike) > 1 else ():
            try:
                with open(label["file"], "rb") as file:
                    by_digest.setdefault(_digest(file), []).append(label)
            except OSError:  # told when it is opened as a picture or clip
                continue
        yield from by_digest.values()


def _copied_media(manifest: Path, labels: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """Rows of a Parquet file that hold the same media."""
    by_digest: dict[bytes, list[dict[str, Any]]] = {}
    for batch in _with_media(manifest, labels):
        for label, source in batch:
            if source["bytes"]:
                by_digest.setdefault(hashlib.sha256(source["bytes"]).digest(), []).append(label)
    return by_digest.values()


def _join_copies(copies: list[dict[str, Any]], problems: dict[str, list[str]]) -> None:
    """Makes rows with copies of one file one content; those rated otherwise or of another content are problems."""
    original = copies[0]
    content = next((label["content_id"] for label in copies if label["content_id"]), _own_content(original))
    for label in copies:
        if label["mos"] != original["mos"]:
            ratings = f"{label['mos_given']} here, {original['mos_given']} there"
            problems.setdefault(label["place"], []).append(
                f"byte for byte the file of {original['place']}, rated otherwise ({ratings}): keep one row"
            )
        elif label["content_id"] not in (None, content):
            problems.setdefault(label["place"], []).append(
                f"byte for byte the file of {original['place']}, but its content_id is {label['content_id']!r} and "
                f"not {content!r}: give both the same"
            )
        label["content_id"] = content


def _own_content(label: dict[str, Any]) -> str:
    return str(label.get("path") or label["place"])


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _range(labels: list[dict[str, Any]], settings: ManifestSettings, manifest: Path) -> tuple[float, float]:
    """The worst and the best rating."""
    ratings = [label["mos"] for label in labels if label["mos"] is not None]
    if settings.mos_range is not None:
        return settings.mos_range
    if not ratings:
        return 0.0, 1.0  # every row is named already
    for low, high in KNOWN_RANGES:
        if low <= min(ratings) and max(ratings) <= high:
            logger.warning(
                "The ratings of %s lie in [%g, %g]; taken as ratings from %g (worst) to %g (best). If that is wrong, "
                "give `mos_range`.",
                manifest,
                min(ratings),
                max(ratings),
                low,
                high,
            )
            return low, high
    raise ManifestError(
        f"The ratings of {manifest} lie in [{min(ratings):g}, {max(ratings):g}], no usual scale: give `mos_range`, "
        "the worst and the best rating there can be."
    )


def _assign_splits(labels: list[dict[str, Any]], settings: ManifestSettings) -> None:
    """Fills in `content_id` and `split`; one content is never on both sides."""
    for label in labels:
        label["content_id"] = label["content_id"] or _own_content(label)
    if "split" in labels[0]:
        return
    contents = sorted({label["content_id"] for label in labels})
    order = np.random.default_rng(settings.seed).permutation(len(contents))
    held_out = {contents[i] for i in order[: round(settings.held_out_share * len(contents))]}
    for label in labels:
        label["split"] = settings.eval_split if label["content_id"] in held_out else settings.train_split


def _write(
    manifest: Path,
    labels: list[dict[str, Any]],
    mos_range: tuple[float, float],
    settings: ManifestSettings,
    folder: Path,
    problems: dict[str, list[str]],
) -> None:
    """Opens the media, adds what is wrong with them to `problems`, and writes the rows as long as there are none."""
    splits = [name for name in (settings.train_split, settings.eval_split) if any(x["split"] == name for x in labels)]
    (folder / "data").mkdir(parents=True)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(pq.ParquetWriter(folder / "data" / f"{name}.parquet", FEATURES.arrow_schema))
            for name in splits
        }
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        progress = stack.enter_context(tqdm(total=len(labels), desc="Opening pictures and clips", delay=2))
        for batch in _with_media(manifest, labels):
            rows = []
            for (label, source), modality in zip(batch, pool.map(_modality, [s for _, s in batch]), strict=True):
                if isinstance(modality, MediaError):
                    problems.setdefault(label["place"], []).append(str(modality))
                elif not problems:
                    rows.append(_row(label, source, modality, mos_range))
                progress.update()
            for name, writer in writers.items():
                if chosen := [row for row in rows if row["split"] == name]:
                    writer.write_table(pa.Table.from_pylist(chosen, schema=FEATURES.arrow_schema))
    files = {name: f"data/{name}.parquet" for name in splits}
    (folder / "README.md").write_text(card_text({"scoring": files}), encoding="utf-8")


def _with_media(manifest: Path, labels: list[dict[str, Any]]) -> Iterator[list[tuple[dict[str, Any], dict[str, Any]]]]:
    """The rows with their media, `{"bytes", "path"}`, some at a time."""
    if "path" in labels[0]:
        usable = [label for label in labels if label["file"] is not None]
        for start in range(0, len(usable), _BATCH):
            yield [(label, {"bytes": None, "path": str(label["file"])}) for label in usable[start : start + _BATCH]]
        return
    file = pq.ParquetFile(manifest)
    column = next(name for name in MEDIA_COLUMNS if name in file.schema_arrow.names)
    rows = iter(labels)
    for batch in file.iter_batches(_BATCH, columns=[column]):
        media = [m if isinstance(m, dict) else {"bytes": m, "path": None} for m in batch.column(0).to_pylist()]
        yield [(next(rows), {"bytes": m.get("bytes"), "path": None}) for m in media]


def _modality(source: dict[str, Any]) -> str | MediaError:
    try:
        item = source["bytes"] or source["path"]
        if item is None:
            return MediaError("no picture or clip")
        media = load_media(item)
        if isinstance(media, Clip):
            media.get_frames([0])
        return "video" if isinstance(media, Clip) else "image"
    except MediaError as error:
        return error


def _row(
    label: dict[str, Any], source: dict[str, Any], modality: str, mos_range: tuple[float, float]
) -> dict[str, Any]:
    """A scoring row: human MOS and std, brought to [0, 1], as a distribution over the levels."""
    low, high = mos_range
    mos = (label["mos"] - low) / (high - low)
    std = None if label["std"] is None else label["std"] / abs(high - low)
    # Without a spread the mean is split between its two neighbouring levels.
    target = pmod_from_moments(np.array([mos]), np.array([std or 0.0]))
    return {
        "id": label.get("path") or label["place"],
        **media_columns(modality, [source], [score_text(modality, mos)]),
        "content_id": label["content_id"],
        "split": label["split"],
        "mos": mos,
        "std": std,
        "level_probs": target.level_probs[0].tolist(),
    }


def _fingerprint(manifest: Path, labels: list[dict[str, Any]], settings: ManifestSettings) -> str:
    """Changes with the manifest, its place, the files it names and the settings."""
    digest = hashlib.sha256(f"{manifest.resolve()} {settings}".encode())
    with open(manifest, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    for label in labels:
        if label["file"] and os.path.isfile(label["file"]):
            stat = os.stat(label["file"])
            digest.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]
