"""Batch sizes: a fixed number of items, or as many as the device of a model has room for."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import torch

from .media_error_vital import MediaError, describe_item


CPU_ITEMS = 8
_MOST_ITEMS = 64
_MOST_TOKENS = 32_768  # More does not make a large GPU faster, and the first results would only come later.
_SHARE = 1 / 3  # Of the free memory: the next batch's pixels are there already, and memory is never all in one piece.

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def check_batch_size(batch_size: int | str) -> None:
    """Raises unless it is `"auto"` or a whole number above 0.

    Raises:
        ValueError: see above.
    """
    number = isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size >= 1
    if batch_size != "auto" and not number:
        raise ValueError(f"`batch_size` must be at least 1, or 'auto'; got {batch_size!r}.")


class BatchLimit:
    """Limit of one batch.

    Args:
        batch_size (`int` or `str`): items, whatever they are; `"auto"` is `CPU_ITEMS` on a CPU, and elsewhere as many
            as the device has memory for, at most 64.
        device (`torch.device`): of the model.
        cost (`Callable`): of an item: its decoder tokens, and the bytes that it takes on the device.

    Attributes:
        items (`int`): at most.
        by_memory (`bool`): whether items that take more memory are fewer.
    """

    def __init__(self, batch_size: int | str, device: torch.device, cost: Callable[[Any], tuple[int, int]]) -> None:
        check_batch_size(batch_size)
        self.by_memory = batch_size == "auto" and device.type == "cuda"
        self._cost = cost
        self.items: int = _MOST_ITEMS if self.by_memory else CPU_ITEMS if isinstance(batch_size, str) else batch_size
        self._bytes = int(_SHARE * free_bytes(device)) if self.by_memory else 0

    def batches(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """Cuts a row of items into batches; one that is too large for the limit is a batch of its own."""
        batch: list[Item] = []
        tokens = size = 0
        for item in items:
            more_tokens, more_bytes = self._cost(item) if self.by_memory else (0, 0)
            tokens, size = tokens + more_tokens, size + more_bytes
            if batch and self.by_memory and (tokens > _MOST_TOKENS or size > self._bytes):
                yield batch
                batch, tokens, size = [], more_tokens, more_bytes
            batch.append(item)
            if len(batch) >= self.items:
                yield batch
                batch, tokens, size = [], 0, 0
        if batch:
            yield batch

    def lower(self, items: int) -> None:
        """Takes no more than so many items from here on: more of them did not fit."""
        self.items = max(1, min(self.items, items))


def in_parts(
    work: Callable[[Sequence[Item]], Result],
    batch: Sequence[Item],
    device: torch.device,
    limit: BatchLimit | None = None,
    name: Callable[[Item], str] = describe_item,
) -> list[Result | MediaError]:
    """Works on a batch, or where memory runs out on its halves, one after the other.

    Args:
        work (`Callable`): gives the result of a batch.
        batch (`Sequence`): at least one item.
        device (`torch.device`): where the work is done.
        limit ([`BatchLimit`], *optional*): lowered to what did fit.
        name (`Callable`, *optional*): of an item, for the error.

    Returns:
        `list`: a result for each part, in their order; a `MediaError` for an item that is too large by itself.
    """
    try:
        return [work(batch)]
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(". ")[0]
    # Outside the handler: the error keeps what was computed in memory.
    if device.type == "cuda":
        torch.cuda.empty_cache()
    half = len(batch) // 2
    if half == 0:
        failure = MediaError(
            f"{name(batch[0])} is too large for the memory of {device} ({reason}): let the processor cut fewer tiles "
            "(`max_tiles`) or take fewer frames (`frame_sampling`)."
        )
        return [failure]
    logger.warning("A batch of %d items is too large for the memory of %s: halved.", len(batch), device)
    if limit is not None:
        limit.lower(half)
    return [each for part in (batch[:half], batch[half:]) for each in in_parts(work, part, device, limit, name)]


def free_bytes(device: torch.device) -> int:
    """Memory of a CUDA device that a new batch may take: what is free, and what torch keeps for later."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@contextlib.contextmanager
def exact_float32(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Convolutions in true float32 inside the block.

    On a CUDA device torch computes those of float32 models in TF32 by default, with 10 bits of mantissa instead of
    23 (products of matrices it does not): scores would differ from the CPU's in the fourth digit.
    """
    if device.type != "cuda" or dtype != torch.float32:
        yield
        return
    flags: Any = torch.backends.cudnn
    name, exact = "allow_tf32", cast(Any, False)
    try:
        before = getattr(flags, name)
    except RuntimeError:  # torch refuses to read this flag once the newer ones of single operations are set
        flags, name, exact = flags.conv, "fp32_precision", "ieee"
        before = getattr(flags, name)
    setattr(flags, name, exact)
    try:
        yield
    finally:
        setattr(flags, name, before)


__all__ = ["CPU_ITEMS", "BatchLimit", "check_batch_size", "exact_float32", "free_bytes", "in_parts"]
