"""Batch sizes: a fixed number of items, or as many as the device of a model has room for."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch

from .cutting_vital import PreparedMedia


CPU_ITEMS = 8
_MOST_ITEMS = 64
_MOST_TOKENS = 32_768  # More does not make a large GPU faster, and the first results would only come later.
_SHARE = 1 / 3  # Of the free memory: the next batch's pixels are there already, and memory is never all in one piece.


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

    def __init__(
        self, batch_size: int | str, device: torch.device, cost: Callable[[PreparedMedia], tuple[int, int]]
    ) -> None:
        check_batch_size(batch_size)
        self.by_memory = batch_size == "auto" and device.type == "cuda"
        self._cost = cost
        self.items: int = _MOST_ITEMS if self.by_memory else CPU_ITEMS if isinstance(batch_size, str) else batch_size
        self._bytes = int(_SHARE * free_bytes(device)) if self.by_memory else 0

    def batches(self, media: Iterable[PreparedMedia]) -> Iterator[list[PreparedMedia]]:
        """Cuts a row of items into batches; one that is too large for the limit is a batch of its own."""
        batch: list[PreparedMedia] = []
        tokens = size = 0
        for item in media:
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
    flags, name, exact = torch.backends.cudnn, "allow_tf32", False
    try:
        before = getattr(flags, name)
    except RuntimeError:  # torch refuses to read this flag once the newer ones of single operations are set
        flags, name, exact = torch.backends.cudnn.conv, "fp32_precision", "ieee"
        before = getattr(flags, name)
    setattr(flags, name, exact)
    try:
        yield
    finally:
        setattr(flags, name, before)


__all__ = ["CPU_ITEMS", "BatchLimit", "check_batch_size", "exact_float32", "free_bytes"]
