"""Choice of the decoder of clips, for the process and those it starts. Imports the standard library only."""

import importlib.util
import os


VIDEO_BACKENDS = ("auto", "decord", "pyav")
BACKEND_VARIABLE = "VITAL_VIDEO_BACKEND"
"""Environment variable that holds the setting, so that workers and the code files beside a checkpoint have it, too."""

MODULES = {"decord": "decord", "pyav": "av"}
"""What a backend is imported as."""
_PACKAGES = {"decord": "decord2", "pyav": "av"}


def video_backend() -> str:
    """`str`: the backend that is set, `"auto"` if none is; not checked."""
    return os.environ.get(BACKEND_VARIABLE) or "auto"


def set_video_backend(name: str) -> None:
    """Sets what reads clips from here on, in this process and in those that it starts.

    Args:
        name (`str`): `"auto"` is decord for MP4 and Matroska, and PyAV for what decord is missing for or refuses;
            `"decord"` and `"pyav"` are that one alone, and what it cannot read is an error.

    Raises:
        ValueError: for another name, or a backend that is not installed.
    """
    if name not in VIDEO_BACKENDS:
        raise ValueError(f"Unknown video backend {name!r}; choose one of {', '.join(VIDEO_BACKENDS)}.")
    if name != "auto" and importlib.util.find_spec(MODULES[name]) is None:
        raise ValueError(missing(name))
    os.environ[BACKEND_VARIABLE] = name


def missing(name: str) -> str:
    """Returns the message for a backend that is not installed."""
    return f"The video backend {name!r} is not installed; `pip install {_PACKAGES[name]}`, or take 'auto'."


__all__ = ["BACKEND_VARIABLE", "VIDEO_BACKENDS", "set_video_backend", "video_backend"]
