"""The decoder's tokenizer, taken from beside the weights or from where the user says."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..messages import first_line
from .errors import ConversionError, ConversionUsageError


_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


def load_tokenizer(folder: Path, other: str | None = None) -> PreTrainedTokenizerBase | None:
    """Loads a tokenizer without running code that came with it.

    Args:
        folder (`Path`): the source's.
        other (`str`, *optional*): folder or Hub id to take it from instead.

    Returns:
        `PreTrainedTokenizerBase` or `None`: `None` if the source has no file of a tokenizer and no other was named.

    Raises:
        ConversionUsageError: if the other one cannot be loaded.
        ConversionError: if the source's cannot.
    """
    if other is None and not any((folder / name).is_file() for name in _FILES):
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(other or folder, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError) as error:
        first = first_line(error)
        if other is not None:
            raise ConversionUsageError(f"No tokenizer can be loaded from {other!r}: {first}") from error
        raise ConversionError(
            f"The tokenizer in {folder} cannot be loaded without running code of its own; name another one with "
            f"--tokenizer: {first}"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
