"""`--where`: a condition on a record, read as Python reads it but never run as Python."""

import ast
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .errors import UsageError
from .records import MOS_COLUMNS


_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, container: value in container,
    ast.NotIn: lambda value, container: value not in container,
}
_ANSWERED_BY_NOTHING = (ast.Eq, ast.NotEq)
# Numbers that nobody writes: a difference of one of them is not zero.
_SAMPLE = {"path": "", "modality": "image", "score": 0.5087, "std": 0.1093, "level": "fair", "error": ""}
_SAMPLE |= dict.fromkeys(MOS_COLUMNS, 0.5119)

Condition = Callable[[dict[str, Any]], bool]


def parse_condition(text: str, level_words: Iterable[str]) -> Condition:
    """Makes a function of a condition such as `score < 0.4 and modality == "image"`.

    Names are the columns of a record as CSV has them (`path`, `modality`, `score`, `std`, `level`, `error`,
    `prob_high` and the like for the probabilities, and `mos`, `mos_low`, `mos_high` with a calibration); besides them
    there are numbers, texts, lists, `None`, `and`, `or`, `not`, comparisons, `in`, and `+ - * /`. A record that lacks
    a value that is compared by size or calculated with, as a failed one lacks its score, does not meet the comparison.

    Args:
        text (`str`): the condition.
        level_words (`Iterable[str]`): of the model.

    Returns:
        `Callable[[dict], bool]`: says of a record with these columns whether it meets the condition.

    Raises:
        UsageError: if the text is something else.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        sample = _Sample(_SAMPLE | dict.fromkeys((f"prob_{word}" for word in level_words), 0.2073))
        if unknown := sorted(names_in(text) - set(sample)):
            raise ValueError(f"there is no column {unknown[0]}; there are {', '.join(sample)}")
        evaluate = _compile(tree)
        evaluate(sample)
    except (SyntaxError, TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"--where {text!r} is no condition ({getattr(error, 'msg', None) or error}); give one such as "
            "'score < 0.4 and modality == \"image\"'"
        ) from error
    except ZeroDivisionError:
        pass  # of the sample; real records may be otherwise
    return lambda record: bool(_answer(evaluate, record))


def names_in(text: str) -> set[str]:
    """Returns the columns that a condition names."""
    return {node.id for node in ast.walk(ast.parse(text.strip(), mode="eval")) if isinstance(node, ast.Name)}


def _answer(evaluate: Callable[[dict[str, Any]], Any], record: dict[str, Any]) -> Any:
    try:
        return evaluate(record)
    except (ArithmeticError, TypeError):  # a division by zero, or a list that holds what a failed record lacks
        return False


class _Sample(dict):
    """A record with every column, to try all of a condition on before anything is scored: nothing is cut short."""


def _compile(node: ast.expr) -> Callable[[dict[str, Any]], Any]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return lambda record: node.value
    if isinstance(node, ast.Name):
        return lambda record: record.get(node.id)
    if isinstance(node, ast.List | ast.Tuple):
        parts = [_compile(part) for part in node.elts]
        return lambda record: [part(record) for part in parts]
    if isinstance(node, ast.BoolOp):
        parts, combine = [_compile(part) for part in node.values], all if isinstance(node.op, ast.And) else any
        return lambda record: combine(_all_or_lazily(record, (part(record) for part in parts)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        operand = _compile(node.operand)
        if isinstance(node.op, ast.Not):
            return lambda record: not operand(record)
        return lambda record: _on_values(operator.neg, operand(record))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right, act = _compile(node.left), _compile(node.right), _OPERATORS[type(node.op)]
        return lambda record: _on_values(act, left(record), right(record))
    if isinstance(node, ast.Compare) and all(type(op) in _OPERATORS for op in node.ops):
        sides = [_compile(side) for side in (node.left, *node.comparators)]
        return lambda record: all(_all_or_lazily(record, _comparisons(node.ops, [side(record) for side in sides])))
    raise ValueError(f"{ast.unparse(node)} has no place in a condition")


def _on_values(act: Callable[..., Any], *values: Any) -> Any:
    if any(isinstance(value, str | list) for value in values):  # no texts of any length by multiplication
        raise TypeError("only numbers can be calculated with")
    return None if None in values else act(*values)


def _comparisons(ops: list[ast.cmpop], values: list[Any]) -> Iterator[bool]:
    for op, left, right in zip(ops, values, values[1:], strict=False):
        missing = left is None or right is None
        yield False if missing and not isinstance(op, _ANSWERED_BY_NOTHING) else _OPERATORS[type(op)](left, right)


def _all_or_lazily(record: dict[str, Any], values: Iterator[Any]) -> Iterable[Any]:
    return list(values) if isinstance(record, _Sample) else values
