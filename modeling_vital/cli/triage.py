"""`--copy-to` and `--link-to`: the files that meet a condition, together in a folder."""

import contextlib
import filecmp
import itertools
import os
import shutil
import tempfile
from pathlib import Path


class Triage:
    """Puts files into one folder under their own names; nothing that is there is ever overwritten.

    A second file of the same name becomes `name (2).jpg`, and so on; a file that is there already, with the same
    content or as a link to the same file, is left, so that a repeated run adds nothing.

    Args:
        folder (`Path`): made if it is not there.
        link (`bool`): make symbolic links instead of copies.
    """

    def __init__(self, folder: Path, link: bool) -> None:
        self.folder, self.link = folder, link
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, path: str) -> Path:
        """Copies or links a file.

        Args:
            path (`str`): the file.

        Returns:
            `Path`: what it is called there.

        Raises:
            OSError: if it cannot be read or written.
        """
        name = Path(path)
        for number in itertools.count(1):
            place = self.folder / (name.name if number == 1 else f"{name.stem} ({number}){name.suffix}")
            if self._is_there(path, place) or self._take(path, place):
                return place
        raise AssertionError("unreachable: numbers do not end")

    def _is_there(self, path: str, place: Path) -> bool:
        if self.link:
            return place.is_symlink() and os.readlink(place) == os.path.abspath(path)
        return place.is_file() and not place.is_symlink() and filecmp.cmp(path, place, shallow=False)

    def _take(self, path: str, place: Path) -> bool:
        """Takes the name if it is free; `False` if it is not."""
        if os.path.lexists(place):
            return False
        if self.link:
            with contextlib.suppress(FileExistsError):
                os.symlink(os.path.abspath(path), place)
                return True
            return False
        handle, part = tempfile.mkstemp(dir=self.folder, prefix=".copying-")
        os.close(handle)
        try:
            shutil.copy2(path, part)
            try:
                os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # the name is ours from here on
            except FileExistsError:
                return False
            os.replace(part, place)  # not `whole_file`, which takes a name whether it is free or not
            return True
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
