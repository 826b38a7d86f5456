"""Adds the code that a model's settings name, and lays out what is to be sent as a folder that loads."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import PublishError


_PACKAGE = Path(__file__).parents[1]


def code_files(files: Mapping[str, Path]) -> dict[str, Path]:
    """Finds the package's code files that a model needs and lacks.

    A checkpoint inside the package holds no code, and a folder may have been copied without it. The settings
    (`auto_map`, `custom_pipelines`) name the modules. They come from this package together with what they import from
    beside them, as `save_pretrained` would write them.

    Args:
        files (`Mapping[str, Path]`): path in the repository -> file, of the model as it is.

    Returns:
        `dict[str, Path]`: path in the repository -> file of the package; empty where the model has its own code, or
        its settings name none.

    Raises:
        PublishError: settings are not JSON, or name a module that is neither there nor in this package; or only a part
            of the named modules is there, so that one half would be of another version.
    """
    from transformers.dynamic_module_utils import get_relative_import_files

    named = sorted(_named_modules(files))
    missing = [module for module in named if f"{module}.py" not in files]
    if len(missing) < len(named) and missing:
        raise PublishError(
            f"the settings name {', '.join(f'{module}.py' for module in missing)}, not in the folder, though other "
            "code files are; save the model again with `save_pretrained`, or remove all its .py files."
        )
    found = {}
    for module in missing:
        source = _PACKAGE / f"{module}.py"
        if not source.is_file():
            raise PublishError(f"the settings name {source.name}, neither in the folder nor in this package; add it.")
        found[source.name] = source
        found |= {Path(path).name: Path(path) for path in get_relative_import_files(source)}
    return found


def named_code(files: Mapping[str, Path]) -> set[str]:
    """Finds the code of a model's own: the modules that its settings name, and what they import from beside them.

    Args:
        files (`Mapping[str, Path]`): path in the repository -> file.

    Returns:
        `set[str]`: paths in the repository, those only that are there.

    Raises:
        PublishError: settings are not JSON.
    """
    from transformers.dynamic_module_utils import get_relative_import_files

    found = set()
    for module in _named_modules(files):
        if source := files.get(f"{module}.py"):
            try:
                imported = get_relative_import_files(source)
            except (OSError, UnicodeDecodeError):  # it imports what is not there: the trial says so
                imported = []
            found |= {source.name, *(Path(path).name for path in imported)}
    return found & set(files)


def _named_modules(files: Mapping[str, Path]) -> set[str]:
    return {module for name, path in files.items() for module in _modules(name, path)}


def _modules(name: str, path: Path) -> Iterator[str]:
    if "/" in name or not name.endswith("config.json"):
        return
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PublishError(f"{path} is not JSON: {error}.") from error
    for reference in _references(settings):
        if "--" not in reference:  # with it, the code is another repository's
            yield reference.split(".")[0]


def _references(settings: Any) -> Iterator[str]:
    """Every `module.Class` of an `auto_map` or a custom pipeline, at any depth."""
    if not isinstance(settings, dict):
        return
    for key, value in settings.items():
        if key == "auto_map" and isinstance(value, dict):
            for classes in value.values():
                yield from (each for each in (classes if isinstance(classes, list) else [classes]) if each)
        elif key == "impl" and isinstance(value, str):
            yield value
        else:
            yield from _references(value)


@contextmanager
def laid_out(files: Mapping[str, Path]) -> Iterator[Path]:
    """Makes a temporary folder of links to files, as the repository will hold them.

    Args:
        files (`Mapping[str, Path]`): path in the repository -> file.

    Yields:
        `Path`: the folder, removed afterwards. Where the system makes no links, it holds copies.
    """
    with tempfile.TemporaryDirectory(prefix="vital-push-") as folder:
        for name, path in files.items():
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.symlink(path.resolve(), place)
            except OSError:  # Windows asks for a right to make links
                shutil.copyfile(path, place)
        yield Path(folder)
