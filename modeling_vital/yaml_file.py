"""Reads YAML of settings: a key that is given twice is an error, and not the last one's value.

Example:

    >>> from modeling_vital.yaml_file import parse_yaml
    >>> parse_yaml("seed: 1")
    {'seed': 1}
    >>> parse_yaml("seed: 1\\nsteps: 5\\nseed: 2")
    Traceback (most recent call last):
    ...
    yaml.composer.ComposerError: the key 'seed' is given twice, in line 1 and here; keep one
      in "<unicode string>", line 3, column 1:
        seed: 2
        ^
"""

from pathlib import Path
from typing import Any, TextIO

import yaml
from yaml.composer import ComposerError


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Composes a mapping; checked here, where keys that `<<` merges are not in it yet."""
        node = super().compose_mapping_node(anchor)
        seen: dict[Any, yaml.ScalarNode] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            first = seen.setdefault((key.tag, key.value), key)
            if first is not key:
                where = f"in line {first.start_mark.line + 1} and here"
                problem = f"the key {key.value!r} is given twice, {where}; keep one"
                raise ComposerError(None, None, problem, key.start_mark)
        return node


def read_yaml(path: str | Path) -> Any:
    """Reads a file in UTF-8.

    Raises:
        OSError: it cannot be read.
        yaml.YAMLError: it is no YAML, or a mapping in it has a key twice; names the key, the file and the lines.
        UnicodeDecodeError: it is not UTF-8.
    """
    with open(path, encoding="utf-8") as stream:
        return parse_yaml(stream)


def parse_yaml(source: str | TextIO) -> Any:
    """Reads a text, or a file that is open; errors as in [`read_yaml`]."""
    return yaml.load(source, Loader=_Loader)  # noqa: S506  a safe loader


__all__ = ["parse_yaml", "read_yaml"]
