"""Shards in the WebDataset form: tar files in which the files of one sample follow one another, named alike."""

import glob
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from dataset_scripts.sources.base import MEDIA_SUFFIXES, UNKNOWN_LICENSE, SourceError, SourceItem, text_details


@dataclass
class WebDatasetSource:
    """The pictures and clips of tar shards, read from front to back.

    A sample is a run of files with one name up to the first dot. Its picture or clip is known by the suffix; a `.json`
    beside it may hold `license`, `content_id` and `split`, and what else goes into the provenance.

    Args:
        path (`str`): a folder of `.tar` files, one such file, or a pattern such as
            `shards/*.tar`; in the order of their names.
        license (`str`, *optional*): of the samples that name none.
        name (`str`, *optional*): of the source; by default that of the folder.

    Raises:
        SourceError: no shard is there, or one cannot be read.

    Note:
        Read with the standard library: `datasets`' loader guesses columns from the first samples and fails on shards
        in which only some samples have a `.json`.
    """

    path: str
    license: str = UNKNOWN_LICENSE
    name: str = ""

    def __post_init__(self) -> None:
        path = Path(self.path)
        self._shards = sorted(map(str, path.glob("*.tar"))) if path.is_dir() else sorted(glob.glob(self.path))
        if not self._shards:
            raise SourceError(f"no tar shard at {self.path!r}; give a folder of them, a file or a pattern")
        self.name = self.name or Path(self._shards[0]).resolve().parent.name

    def __iter__(self) -> Iterator[SourceItem]:
        for shard in self._shards:
            try:
                yield from self._samples(shard)
            except (tarfile.TarError, EOFError, OSError) as error:
                raise SourceError(f"{shard} cannot be read ({error}); get a whole copy of it") from error

    def _samples(self, shard: str) -> Iterator[SourceItem]:
        with tarfile.open(shard, "r|*") as tar:  # a stream: members are read as they pass
            for key, files in groupby(_members(tar), key=lambda file: file[0]):
                about: dict[str, Any] = {}
                media: list[tuple[str, bytes]] = []
                for _, suffix, content in files:
                    if suffix == ".json":
                        about = _read_json(content, f"{shard}: {key}.json")
                    else:
                        media.append((suffix, content))
                for suffix, content in media:
                    yield SourceItem(
                        name=f"{Path(shard).name}/{key}{suffix}",
                        media=content,
                        license=str(about.get("license") or self.license),
                        content_id=str(about["content_id"]) if about.get("content_id") else None,
                        split=about.get("split") or None,
                        details=text_details(about, ["license", "content_id", "split"]),
                    )


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    """(key, suffix, content) of the files that matter."""
    for member in tar:
        path = PurePosixPath(member.name)
        stem, _, rest = path.name.partition(".")
        suffix = "." + rest.rpartition(".")[2].lower()
        if member.isfile() and not path.name.startswith(".") and suffix in MEDIA_SUFFIXES | {".json"}:
            yield (path.parent / stem).as_posix(), suffix, tar.extractfile(member).read()


def _read_json(content: bytes, where: str) -> dict[str, Any]:
    try:
        about = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{where} is not JSON ({error})") from error
    if not isinstance(about, dict):
        raise SourceError(f"{where} must be an object, is {type(about).__name__}")
    return about
