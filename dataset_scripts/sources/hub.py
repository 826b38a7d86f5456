"""A column of pictures or clips of a `datasets` data set: on the Hub or in a local folder, always streamed."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_scripts.sources.base import UNKNOWN_LICENSE, SourceError, SourceItem, text_details
from modeling_vital.manifest_paths import belongs_to_dataset, missing_folder
from modeling_vital.media_vital import MediaError


@dataclass
class HubSource:
    """One column of a data set, row by row, as stored: nothing is decoded or downloaded ahead.

    Args:
        path (`str`): name on the Hub (`org/name`), or a local folder that `load_dataset` takes.
        column (`str`, *optional*): the pictures or clips; by default the first column of type Image or Video.
        config (`str`, *optional*): configuration of the data set.
        split (`str`, *optional*, defaults to `"train"`): of the data set.
        revision (`str`, *optional*): commit, branch or tag; pin it, or another run may see other rows.
        content_id_column, license_column (`str`, *optional*): columns that say these of each row.
        license (`str`, *optional*): of the rows that name none.
        name (`str`, *optional*): of the source; by default `path`.

    Raises:
        SourceError: the data set or the column cannot be had. A row without a file of the data set has a `problem`.
    """

    path: str
    column: str | None = None
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    content_id_column: str | None = None
    license_column: str | None = None
    license: str = UNKNOWN_LICENSE
    name: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or (Path(self.path).resolve().name if Path(self.path).exists() else self.path)

    def _open(self) -> Any:
        import datasets

        if problem := missing_folder(self.path):
            raise SourceError(f"data set {self.path!r} cannot be opened ({problem})")
        try:
            rows = datasets.load_dataset(
                self.path, self.config, split=self.split, streaming=True, revision=self.revision
            )
        except (OSError, ValueError) as error:
            raise SourceError(f"data set {self.path!r} cannot be opened ({error})") from error
        features = rows.features or {}
        media = [name for name, kind in features.items() if isinstance(kind, datasets.Image | datasets.Video)]
        self.column = self.column or (media[0] if media else None)
        if self.column is None or (features and self.column not in features):
            raise SourceError(
                f"data set {self.path!r} has no column {self.column or 'of type Image or Video'}; name one with "
                f"`column`; it has {', '.join(features) or 'no stated columns'}"
            )
        # All columns: decoding opens the files that a stranger's rows name. A cast would leave the threads at work in
        # which `datasets` decodes what comes from the Hub.
        return rows.decode(False) if features else rows

    def __iter__(self) -> Iterator[SourceItem]:
        for number, row in enumerate(self._open()):
            own, problem = row[self.column], ""
            group = row[self.content_id_column] if self.content_id_column else None
            try:
                media = _media_of(own, self.path)
            except MediaError as error:
                media, problem = b"", f"column {self.column} {error}"
            yield SourceItem(
                name=f"{self.split}/{number:08d}",
                media=media,
                license=str((self.license_column and row[self.license_column]) or self.license),
                content_id=str(group) if group is not None else None,
                details={
                    **text_details(row, [self.column, self.content_id_column, self.license_column]),
                    **({"file": Path(own["path"]).name} if isinstance(own, dict) and own.get("path") else {}),
                },
                problem=problem,
            )


def _media_of(value: Any, dataset: str) -> Path | bytes:
    """The file in a cell, or its bytes; raises `MediaError` where there is none, or none of the data set."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and value.get("bytes"):
        return value["bytes"]
    path = value.get("path") if isinstance(value, dict) else value
    if not isinstance(path, str):
        held = "nothing" if value is None or isinstance(value, dict) else type(value).__name__
        raise MediaError(f"holds {held}, neither a file nor its bytes")
    if not belongs_to_dataset(path, dataset):
        raise MediaError(f"names {Path(path).name[:300]!r}, which is no file of the data set")
    if Path(path).is_file():
        return Path(path)
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:  # streamed folders give addresses on the Hub
            return file.read()
    except (FileNotFoundError, IsADirectoryError, zipfile.BadZipFile) as error:
        # Another `OSError` is the network's: the build stops, and resumes.
        raise MediaError(f"names {Path(path).name[:300]!r}, which is not there, or no file") from error
