"""transformers' tests, which its source distribution has and its wheel has not."""

import os
import shutil
import subprocess
import sys
import tarfile
import types
from importlib import import_module
from pathlib import Path


VARIABLE = "VITAL_PEERS"
"""Environment variable with the folder of the tests; without it this folder has no tests."""

NAME = "transformers_tests"
EXAMPLES = Path(__file__).parents[2] / "spaces_demo" / "examples"


def fetch(folder: Path) -> Path:
    """Downloads and unpacks the source distribution of the installed transformers, once a version.

    Args:
        folder (`Path`): where to keep it.

    Returns:
        `Path`: the folder of its tests.

    Raises:
        RuntimeError: if there is no such distribution, or it has no tests.
    """
    from transformers import __version__

    tests = folder / f"transformers-{__version__}" / "tests"
    if not tests.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation", "-q"]
        command += ["--no-binary", ":all:", "-d", str(folder), f"transformers=={__version__}"]
        archive = folder / f"transformers-{__version__}.tar.gz"
        if subprocess.run(command).returncode or not archive.is_file():
            raise RuntimeError(f"pip found no source distribution of transformers {__version__}.")
        with tarfile.open(archive) as packed:
            for member in packed.getmembers():
                if member.name.startswith(f"transformers-{__version__}/tests/") and member.isfile():
                    place = folder / member.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with packed.extractfile(member) as source, place.open("wb") as target:
                        shutil.copyfileobj(source, target)
    if not (tests / "test_modeling_common.py").is_file():
        raise RuntimeError(f"The source distribution of transformers {__version__} has no tests.")
    (tests / "__init__.py").touch()  # the tester of configurations reads it, and it is not in the distribution
    return tests


def load(name: str) -> types.ModuleType:
    """A module of transformers' tests: `"test_modeling_common"`, for example.

    The distribution has the files at the top of its `tests` folder alone. What they import from folders below, and
    from the repository's root, stands here as far as our tests need it: mixins without tests, and media of ours.
    """
    if NAME not in sys.modules:
        package = types.ModuleType(NAME)
        package.__path__ = [os.environ[VARIABLE]]
        sys.modules[NAME] = package
        _stand_in(f"{NAME}.exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
        _stand_in(f"{NAME}.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
        common = {"return_dict": False, "output_hidden_states": True, "chunk_size_feed_forward": 5}
        _stand_in(f"{NAME}.utils.test_configuration_utils", config_common_kwargs=common)
        _stand_in("fetch_hub_objects_for_ci", url_to_local_path=_own_media)
    return import_module(f"{NAME}.{name}")


def _stand_in(name: str, **members) -> None:
    parts = name.split(".")
    for depth in range(2, len(parts)):
        parent = ".".join(parts[:depth])
        sys.modules[parent] = types.ModuleType(parent)
        sys.modules[parent].__path__ = []
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(members)


def _own_media(url: str) -> str:
    return str(EXAMPLES / ("city-towers-at-night.mp4" if url.endswith((".mp4", ".avi")) else "beach-jetty.jpg"))
