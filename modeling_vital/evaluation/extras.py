"""Packages of the extra `eval`, imported when they are first needed."""

from importlib import import_module
from types import ModuleType


class MissingExtraError(ImportError):
    """A package that evaluation needs is not installed; the message says which and how to get it."""


def require(module: str) -> ModuleType:
    """Imports a module of the extra `eval`.

    Args:
        module (`str`): its full name, such as `"scipy.stats"`.

    Returns:
        `ModuleType`: the module.

    Raises:
        MissingExtraError: if the package is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise MissingExtraError(
            f"evaluation needs the package {package!r}: pip install 'modeling-vital[eval]'"
        ) from error
