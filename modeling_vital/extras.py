"""Packages of the extras, imported when they are first needed."""

from importlib import import_module
from types import ModuleType


class MissingExtraError(ImportError):
    """A package of an extra cannot be imported; the message says which and how to get it."""


def require(module: str, extra: str = "eval", error: type[Exception] = MissingExtraError) -> ModuleType:
    """Imports a module that an extra brings.

    Args:
        module (`str`): its full name, such as `"scipy.stats"`.
        extra (`str`, *optional*, defaults to `"eval"`): its name.
        error (`type`, *optional*): what is raised.

    Raises:
        MissingExtraError: or `error`, if the package cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as reason:
        package = module.partition(".")[0]
        hint = f'pip install "modeling-vital[{extra}]"'
        raise error(f"the package {package!r} cannot be imported ({reason}): {hint}") from reason
