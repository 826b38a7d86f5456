"""Names of the zoo, wherever `from_pretrained` of a VITAL class takes a folder or a Hub id."""

import os
from importlib import import_module


def from_zoo(source, vital=False):
    """Resolves a name of the zoo.

    Args:
        source (`str` or anything else): what was given as a checkpoint.
        vital (`bool`, *optional*, defaults to `False`): whether it can only be a VITAL checkpoint: then a word is a
            name of the zoo or a mistake. Other models have Hub ids of one word.

    Returns:
        The folder of the embedded checkpoint for its name; anything else as it is. In the code files beside a
        checkpoint there is no zoo, and no name is special.

    Raises:
        ValueError: for a name of the zoo whose weights are not inside the package, saying where to get them; with
            `vital`, for a word that is no name of the zoo and no file, with the names there are.
    """
    try:
        zoo = import_module(".zoo", __package__)
    except ModuleNotFoundError:
        return source
    if not isinstance(source, str):
        return source
    word = os.path.basename(source) == source and not os.path.exists(source)
    return zoo.resolve(source) if source in zoo.NAMES or (vital and word) else source


class ZooNamesMixin:
    """`from_pretrained` that also takes a name of the zoo; a base before the class of transformers."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Loads from a name of the zoo, a folder or a Hub id; otherwise as in the base class."""
        source = from_zoo(pretrained_model_name_or_path, vital=True)
        return super().from_pretrained(source, *args, **kwargs)  # type: ignore[misc]  # of the base after this one


__all__ = ["ZooNamesMixin", "from_zoo"]
