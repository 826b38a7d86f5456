"""Names of the zoo, wherever `from_pretrained` of a VITAL class takes a folder or a Hub id."""

from importlib import import_module


def from_zoo(source):
    """Resolves a name of the zoo.

    Args:
        source (`str` or anything else): what was given as a checkpoint.

    Returns:
        The folder of the embedded checkpoint for its name; anything else as it is. In the code files beside a
        checkpoint there is no zoo, and no name is special.

    Raises:
        ValueError: for a name of the zoo whose weights are not inside the package, saying where to get them.
    """
    try:
        zoo = import_module(".zoo", __package__)
    except ModuleNotFoundError:
        return source
    return zoo.resolve(source) if isinstance(source, str) and source in zoo.NAMES else source


class ZooNamesMixin:
    """`from_pretrained` that also takes a name of the zoo; a base before the class of transformers."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Loads from a name of the zoo, a folder or a Hub id; otherwise as in the base class."""
        source = from_zoo(pretrained_model_name_or_path)
        return super().from_pretrained(source, *args, **kwargs)  # type: ignore[misc]  # of the base after this one


__all__ = ["ZooNamesMixin", "from_zoo"]
