"""From items to records: media are read ahead in workers, the model scores them batch by batch."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..messages import short
from .collect import HUB_PREFIX


if TYPE_CHECKING:
    from ..media_vital import MediaError
    from ..modeling_vital import VitalForConditionalGeneration
    from ..outputs_vital import QualityScore
    from ..probe_vital import VitalForQualityProbe

_NOTHING = dict.fromkeys(("modality", "score", "std", "level", "level_probs"))


@dataclass(frozen=True)
class Item:
    """One thing to score.

    Attributes:
        ordinal (`int`): its place; items of one batch are neighbours, whatever else there is still to do.
        path (`str`): what it is called.
        error (`str`, *optional*): why there is nothing to do.
        media: what to read in place of the file at `path`, if anything.
    """

    ordinal: int
    path: str
    error: str | None = None
    media: Any = None


@dataclass(frozen=True)
class Read:
    """An item with its media, ready for the model, or the reason why there are none."""

    item: Item
    media: Any = None
    error: str | None = None


def score_items(
    model: "VitalForConditionalGeneration | VitalForQualityProbe | None",
    items: Iterable[Item],
    batch_size: int,
    workers: int | None,
    timeout_s: float,
    allow_urls: bool = False,
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Scores items, taking few ahead of those being scored.

    A batch is the items whose `ordinal // batch_size` is the same: after an interruption, what is left is batched as
    it would have been, and gets the same scores to the last bit.

    Args:
        model (`VitalForConditionalGeneration` or `VitalForQualityProbe`, *optional*): needed unless every item is an
            error.
        items (`Iterable[Item]`): in rising order.
        batch_size (`int`): items a forward pass.
        workers (`int`, *optional*): processes that read; 0 reads in this one; by default, as suits the machine.
        timeout_s (`float`): seconds that a worker may take for one item.
        allow_urls (`bool`, *optional*, defaults to `False`): whether paths may be http(s) addresses.

    Yields:
        `list[tuple[int, dict]]`: places and records of one batch: `path`, `modality`, `score`, `std`, `level`,
        `level_probs`, `error`.
    """
    batch: list[Read] = []
    for read in read_items(model, items, batch_size, workers, timeout_s, allow_urls):
        if batch and read.item.ordinal // batch_size != batch[0].item.ordinal // batch_size:
            yield _score(model, batch, batch_size)
            batch = []
        batch.append(read)
    if batch:
        yield _score(model, batch, batch_size)


class Load:
    """What a worker does with an item; pickles, and needs no torch.

    Args:
        sampling (`FrameSampling`): which frames of a clip the model looks at; only these are decoded.
        allow_urls (`bool`): whether an item may be an http(s) address.
    """

    def __init__(self, sampling: Any, allow_urls: bool) -> None:
        from ..reading import DecodeMedia

        self._decode = DecodeMedia(sampling, allow_urls)

    def __call__(self, media: Any) -> Any:
        """Reads a file, of this machine or of the Hub, or what else `load_media` takes.

        Raises:
            MediaError: if it cannot be read.
        """
        if isinstance(media, str) and media.startswith(HUB_PREFIX):
            from ..media_vital import MediaError
            from .hub_files import read

            try:
                media = read(media)
            except (OSError, ValueError) as error:
                raise MediaError(f"{media} cannot be downloaded ({error}); check the name.") from error
        return self._decode(media)


def read_items(
    model: Any,
    items: Iterable[Item],
    batch_size: int,
    workers: int | None,
    timeout_s: float,
    allow_urls: bool = False,
) -> Iterator[Read]:
    """Reads items ahead, in processes that may crash or hang: that is an error of the item, not of the run.

    Args:
        model, items, batch_size, workers, timeout_s, allow_urls: as for [`score_items`].

    Yields:
        `Read`: one an item, in their order.
    """
    waiting: deque[Item] = deque()

    def readable() -> Iterator[Any]:
        for item in items:
            waiting.append(item)
            if item.error is None:
                yield item.path if item.media is None else item.media

    if model is None:
        waiting.extend(items)
    else:
        from ..reading import default_workers, read_ahead

        workers = default_workers() if workers is None else workers
        options = {"workers": workers, "timeout_s": timeout_s, "ahead": max(2 * workers, batch_size)}
        with read_ahead(readable(), Load(model.processor.sampling, allow_urls), **options) as ahead:
            for _, media in ahead:
                while waiting[0].error is not None:
                    yield Read(waiting[0], error=waiting.popleft().error)
                item = waiting.popleft()
                yield Read(item, error=str(media)) if isinstance(media, ValueError) else Read(item, media)
    yield from (Read(item, error=item.error) for item in waiting)


def _score(model: Any, batch: list[Read], batch_size: int) -> list[tuple[int, dict[str, Any]]]:
    media = [read.media for read in batch if read.error is None]
    results = iter(model.score(media, batch_size=batch_size, errors="return") if media else ())
    return [(r.item.ordinal, make_record(r.item.path, r.error or next(results))) for r in batch]


def make_record(path: str, result: "QualityScore | MediaError | str") -> dict[str, Any]:
    """A record of a score, or of what went wrong.

    Args:
        path (`str`): of the item.
        result (`QualityScore`, `MediaError` or `str`): its score, or the reason why there is none.

    Returns:
        `dict`: `path`, `modality`, `score`, `std`, `level`, `level_probs`, `error`.
    """
    if isinstance(result, (Exception, str)):
        return {"path": path, **_NOTHING, "error": short(str(result))}
    if not math.isfinite(result.score) or not math.isfinite(result.std):
        return {"path": path, **_NOTHING, "error": "the model gave a score that is not a number"}
    return {
        "path": path,
        "modality": result.modality,
        "score": result.score,
        "std": result.std,
        "level": result.level,
        "level_probs": result.level_probs,
        "error": None,
    }
