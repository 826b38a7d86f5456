"""Key rules: what becomes of each tensor of a source, and the check that nothing is left over on either side."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from .errors import ConversionError


@dataclass(frozen=True)
class Rule:
    """Rule for the tensors whose key matches.

    Args:
        pattern (`str`): regular expression for the whole key.
        targets (`tuple[str, ...]`): names in our model, as templates for `re.Match.expand`; none: the tensor is
            dropped.
        split (`Callable`, *optional*): makes one tensor a target of the source's. Not needed for a single target.
        reason (`str`, *optional*): why it is dropped.
    """

    pattern: str
    targets: tuple[str, ...] = ()
    split: Callable[[torch.Tensor], Sequence[torch.Tensor]] | None = None
    reason: str = ""

    def apply(self, key: str, tensor: torch.Tensor) -> dict[str, torch.Tensor] | None:
        """The tensors that one of the source's becomes, by their name in our model; `None` where the rule says
        nothing about the key.

        Raises:
            ValueError: if the tensor cannot be split as the rule says.
        """
        match = re.fullmatch(self.pattern, key)
        if match is None:
            return None
        names = [match.expand(target) for target in self.targets]
        try:
            pieces = [tensor] if self.split is None else self.split(tensor)
        except RuntimeError as error:  # a shape that torch cannot view in the way asked for
            raise ValueError(str(error)) from error
        return dict(zip(names, pieces, strict=True)) if names else {}


def prefixed(rules: Iterable[Rule], source: str, target: str) -> list[Rule]:
    """The same rules for a part of a larger model.

    Args:
        rules (`Iterable[Rule]`): rules of the part.
        source (`str`): what stands before its keys in the source, as a regular expression without groups.
        target (`str`): what stands before its names in our model.
    """
    return [
        replace(rule, pattern=source + rule.pattern, targets=tuple(target + name for name in rule.targets))
        for rule in rules
    ]


def thirds(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """A fused query, key and value projection to its three parts."""
    return tensor.chunk(3)


def translate(rules: Sequence[Rule], key: str, tensor: torch.Tensor) -> dict[str, torch.Tensor] | None:
    """Applies the first rule that matches to a tensor; `None` if no rule knows the key."""
    return next((made for rule in rules if (made := rule.apply(key, tensor)) is not None), None)


def check(
    rules: Sequence[Rule], tensors: Mapping[str, torch.Tensor], expected: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, torch.Tensor]]:
    """Follows every key of a source to its place, on the meta device, and refuses what does not come out even.

    Args:
        rules (`Sequence[Rule]`): the first one that fits a key holds.
        tensors (`Mapping[str, torch.Tensor]`): the source's tensors by key, without data (device `"meta"`).
        expected (`Mapping[str, Sequence[int]]`): shape of every parameter and buffer of our model that the source has
            to give.

    Returns:
        `dict[str, dict[str, torch.Tensor]]`: for each key, what it becomes: name in our model to meta tensor, nothing
        for a tensor that is dropped.

    Raises:
        ConversionError: naming every key without a place, every name without a source or with two, and every shape
            that differs.
    """
    made: dict[str, dict[str, torch.Tensor]] = {}
    sources: dict[str, str] = {}
    unknown, wrong, twice = [], [], []
    for key, tensor in tensors.items():
        try:
            pieces = translate(rules, key, tensor)
        except ValueError as error:
            wrong.append(f"{key} {list(tensor.shape)}: {error}")
            continue
        if pieces is None or not pieces.keys() <= expected.keys():
            unknown.append(f"{key} {list(tensor.shape)}")
            continue
        for name, piece in pieces.items():
            if list(piece.shape) != list(expected[name]):
                wrong.append(f"{key} gives {name} {list(piece.shape)}, which has to be {list(expected[name])}")
            if name in sources:
                twice.append(f"{name} from {sources[name]} and from {key}")
            sources[name] = key
        made[key] = pieces
    missing = [f"{name} {list(shape)}" for name, shape in expected.items() if name not in sources]
    problems = {
        "keys that have no place in the model": unknown,
        "shapes that do not match the configuration": wrong,
        "parameters with two sources": twice,
        "parameters that no key gives": missing,
    }
    if any(problems.values()):
        raise ConversionError(_listing(problems))
    return made


def _listing(problems: dict[str, list[str]]) -> str:
    lines = ["The weights do not match the configuration beside them; nothing was written."]
    for title, items in problems.items():
        if items:
            lines += [f"{len(items)} {title}:", *(f"  {item}" for item in items)]
    return "\n".join(lines)
