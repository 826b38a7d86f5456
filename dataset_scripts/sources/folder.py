"""A folder of pictures and clips, with its sub-folders."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.sources.base import MEDIA_SUFFIXES, UNKNOWN_LICENSE, SourceError, SourceItem


@dataclass
class FolderSource:
    """Every picture and clip below a folder, in the order of the path. Other files and hidden ones are passed over.

    Args:
        path (`str`): the folder.
        license (`str`, *optional*): of all of them.
        name (`str`, *optional*): of the source; by default that of the folder.

    Raises:
        SourceError: the folder does not exist or holds no picture or clip.
    """

    path: str
    license: str = UNKNOWN_LICENSE
    name: str = ""

    def __post_init__(self) -> None:
        if not Path(self.path).is_dir():
            raise SourceError(f"{self.path!r} is not a folder; give one with pictures and clips in it")
        self.name = self.name or Path(self.path).resolve().name
        if next(_media_files(Path(self.path)), None) is None:
            raise SourceError(f"no picture or clip in {self.path!r}; known are {' '.join(sorted(MEDIA_SUFFIXES))}")

    def __iter__(self) -> Iterator[SourceItem]:
        root = Path(self.path)
        for file in _media_files(root):
            yield SourceItem(file.relative_to(root).as_posix(), file, self.license)


def _media_files(folder: Path) -> Iterator[Path]:
    """Sorted a folder at a time, so that a folder of millions need not be listed first."""
    with os.scandir(folder) as entries:
        here = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    for name, is_folder in here:
        if is_folder:
            yield from _media_files(folder / name)
        elif Path(name).suffix.lower() in MEDIA_SUFFIXES:
            yield folder / name
