"""Image benchmarks from the mirror that pyiqa keeps on the Hub: archives, and label tables in a second repository."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...hub_ids import is_hub_id
from ...messages import first_line
from .archives import unpack
from .definition import Benchmark, BenchmarkError, Row, Table
from .image_sets import IMAGE_SETS
from .loading import LoadedBenchmark, check_split, load_benchmark


LABELS_SUFFIX = "-metainfo"
"""What the id of a mirror is followed by in that of the repository with its label tables."""

_CSIQ_KINDS = {"awgn": "noise", "jpeg2000": "jpeg 2000"}


@dataclass(frozen=True)
class Mirrored:
    """Differences of the mirror from the benchmark as it was distributed.

    Args:
        archive (`str`): name of its archive.
        folder (`str`): the folder in the archive.
        table (`Table`): its label table; `None` where the second repository has none.
        changes (`dict[str, Any]`): other fields of the manifest.
    """

    archive: str
    folder: str
    table: Table | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def _csiq_kind(row: Row, name: str) -> str:
    token = name.split(".")[-3].lower()
    return _CSIQ_KINDS.get(token, token)


def _table(name: str, item: str, mos: str, **other: Any) -> Table:
    return Table((f"meta_info_{name}Dataset.csv",), (item,), (mos,), **other)


MIRRORED = {
    "koniq10k": Mirrored(
        "koniq10k.tgz",
        "koniq10k",
        _table(
            "KonIQ10k",
            "img_name",
            "mos",
            std="std",
            split="official_split",
            splits={"train": "train", "val": "validation", "test": "test"},
        ),
    ),
    "spaq": Mirrored("spaq.tgz", "SPAQ", _table("SPAQ", "Image name", "MOS")),
    "livec": Mirrored("live_challenge.tgz", "LIVEC", _table("LIVEChallenge", "img_name", "mos", std="std")),
    "agiqa3k": Mirrored("AGIQA-3K.zip", "AGIQA-3K", changes={"verified": False}),
    "kadid10k": Mirrored("kadid10k.tgz", "kadid10k", _table("KADID10k", "dist_name", "dmos", std="std")),
    "csiq": Mirrored(
        "csiq.tgz",
        "CSIQ",
        _table("CSIQ", "dist_name", "dmos"),
        {"file": None, "group": lambda row, name: name.split(".")[0].lower(), "distortion": _csiq_kind},
    ),
    "tid2013": Mirrored("tid2013.tgz", "tid2013", _table("TID2013", "dist_name", "mos", std="std")),
    "bid": Mirrored("BID.zip", "BID", changes={"verified": False}),
}
"""By the name of the benchmark."""


def load_mirrored(
    name: str, source: str, split: str | None = None, partial: bool = False, labels: Path | None = None
) -> LoadedBenchmark:
    """Reads a benchmark from the mirror, which is downloaded and unpacked the first time.

    Args:
        name (`str`): of the benchmark.
        source (`str`): Hub id of the mirror, or a folder with its files: the archive, or what is in it; and the label
            table, beside it or in `meta_info`.
        split (`str`, *optional*): as for [`load_benchmark`].
        partial (`bool`, *optional*, defaults to `False`): as for [`load_benchmark`].
        labels (`Path`, *optional*): folder with the label table as it was distributed, for sets of which the mirror
            has none.

    Returns:
        [`LoadedBenchmark`]: its note says which mirror.

    Raises:
        BenchmarkError: if the mirror lacks the set, cannot be reached, has an archive that cannot be unpacked safely,
            or [`load_benchmark`] raises it.
    """
    if name not in MIRRORED:
        raise BenchmarkError(f"the mirror has no {name!r}, only {', '.join(MIRRORED)}; give your own copy with --root")
    mirrored, benchmark = MIRRORED[name], next(each for each in IMAGE_SETS if each.name == name)
    check_split(benchmark, split)
    if mirrored.table is None and not (labels and labels.is_dir()):
        wanted = " or ".join(table.files[0] for table in benchmark.tables)
        raise BenchmarkError(
            f"the mirror has no label table of {benchmark.title}; also give the folder with {wanted} as --root"
        )
    if mirrored.table is not None and labels is not None:
        raise BenchmarkError(f"the mirror has the labels of {benchmark.title}; leave out --root, or --mirror")
    find = _in_folder if Path(source).is_dir() else _on_hub
    media, beside, origin = find(source, mirrored, benchmark)
    note = "; ".join(part for part in (benchmark.note, f"from the mirror {origin}") if part)
    tables = (mirrored.table,) if mirrored.table else benchmark.tables
    benchmark = replace(benchmark, tables=tables, note=note, **mirrored.changes)
    return load_benchmark(benchmark, media, split, partial, labels or beside)


def _in_folder(source: str, mirrored: Mirrored, benchmark: Benchmark) -> tuple[Path, Path | None, str]:
    """Folder with the pictures, folder with the label table, and where they come from."""
    root, beside = Path(source), None
    if mirrored.table:
        name = mirrored.table.files[0]
        beside = next((folder for folder in (root, root / "meta_info") if (folder / name).is_file()), None)
        if beside is None:
            raise BenchmarkError(f"no {name} of {benchmark.title} in {source} or its folder meta_info")
    if (root / mirrored.folder).is_dir():
        return root / mirrored.folder, beside, source
    if not (root / mirrored.archive).is_file():
        raise BenchmarkError(
            f"{source} has neither {mirrored.archive} nor the folder {mirrored.folder}: {benchmark.title} is not there"
        )
    return _unpacked(root / mirrored.archive), beside, source


def _on_hub(source: str, mirrored: Mirrored, benchmark: Benchmark) -> tuple[Path, Path | None, str]:
    """The same, downloaded; where they come from with the commit."""
    if not is_hub_id(source):
        raise BenchmarkError(f"{source!r} is neither a folder nor a Hub id like org/name")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    beside = None
    try:
        if mirrored.table:  # first, since it is small
            name = mirrored.table.files[0]
            beside = Path(hf_hub_download(source + LABELS_SUFFIX, name, repo_type="dataset")).parent
        archive = Path(hf_hub_download(source, mirrored.archive, repo_type="dataset"))
    except (HfHubHTTPError, HFValidationError, HTTPError, OSError) as error:
        first = first_line(error).rstrip(".")
        files = " and ".join((mirrored.archive, *(mirrored.table.files if mirrored.table else ())))
        raise BenchmarkError(
            f"{benchmark.title} cannot be had from {source!r}: {first}. Without a network, give a folder with {files} "
            "as --mirror, or your own copy as --root"
        ) from error
    return _unpacked(archive), beside, f"{source} at {archive.parent.name[:12]}"


def _unpacked(archive: Path) -> Path:
    """The folder in the cache with what is in the archive, unpacked anew if the archive has changed."""
    from huggingface_hub import constants

    file = archive.resolve()
    about = file.stat()
    key = hashlib.sha256(f"{file}\n{about.st_size}\n{about.st_mtime_ns}".encode()).hexdigest()[:12]
    target = Path(constants.HF_HOME) / "vital-benchmarks" / f"{archive.stem}-{key}"
    unpack(archive, target)
    return target
