"""What every test runs under: no network, one thread, no caches of the user."""

import gc
import os
import signal
import tempfile
from pathlib import Path

import pytest


# Read when the libraries are imported, so set before any of them is. One thread: more than there are cores is slower.
_HF_HOME = tempfile.TemporaryDirectory(prefix="vital-tests-")
os.environ.update(
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HOME=_HF_HOME.name,
    GRADIO_ANALYTICS_ENABLED="False",
    TRL_EXPERIMENTAL_SILENCE="1",
)
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a run of the `network` tests sets it to 0

# A shell's background job ignores Ctrl-C and hands that on: what the tests start shall be stopped by it all the same.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Keeps the garbage collector off what collecting makes: it stays, and looking through it takes .4 s each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def official() -> Path:
    """The folder of numbers that the released code gave; beside the repository where there is one, never in it."""
    folder = Path(__file__).parents[2] / "shared/official"
    if not folder.is_dir():
        pytest.skip(f"the official fixtures are not at {folder}")
    return folder
