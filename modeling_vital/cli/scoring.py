"""From items to records: media are read ahead in workers, the model scores them batch by batch."""

import contextlib
import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ..messages import short
from .paths import HUB_PREFIX


if TYPE_CHECKING:
    import numpy as np

    from ..batching_vital import BatchLimit
    from ..cutting_vital import MediaCutter, PreparedMedia
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


MAX_PICTURE_BYTES = 2**26  # a larger picture is not held besides its tiles while its batch is made: some 22 megapixels


@dataclass(frozen=True)
class Extras:
    """Further results that are made from the one reading of an item.

    Attributes:
        thumbnails (`tuple[int]`): longer sides of small pictures, of a clip its middle frame.
        picture (`bool`): the pixels of a picture, up to `MAX_PICTURE_BYTES` of them.
    """

    thumbnails: tuple[int, ...] = ()
    picture: bool = False


@dataclass(frozen=True)
class Read:
    """An item with its media, ready for the model, or the reason why there are none.

    Attributes:
        item (`Item`): what was to be read.
        media (`PreparedMedia`, *optional*): what came of it.
        error (`str`, *optional*): why nothing did.
        thumbnails (`tuple[str]`): data URIs, as asked for.
        picture (`np.ndarray`, *optional*): uint8 `[height, width, 3]`, as asked for.
    """

    item: Item
    media: Any = None
    error: str | None = None
    thumbnails: tuple[str, ...] = ()
    picture: "np.ndarray | None" = None


def score_items(
    model: "VitalForConditionalGeneration | VitalForQualityProbe | None",
    items: Iterable[Item],
    batch_size: int | str,
    workers: int | None,
    timeout_s: float,
    allow_urls: bool = False,
    extras: Extras = Extras(),
) -> Iterator[list[tuple[Read, dict[str, Any]]]]:
    """Scores items, taking few ahead of those being scored.

    A batch is the items whose `ordinal // batch_size` is the same: after an interruption, what is left is batched as
    it would have been, and gets the same scores to the last bit. Where the size is what a CUDA device has room for,
    batches may be others then, and the last bits of a score with them.

    Args:
        model (`VitalForConditionalGeneration` or `VitalForQualityProbe`, *optional*): needed unless every item is an
            error.
        items (`Iterable[Item]`): in rising order.
        batch_size (`int` or `str`): items a forward pass, or `"auto"`, see `VitalScoringMixin.score`.
        workers (`int`, *optional*): processes that read; 0 reads in this one; by default, as suits the machine.
        timeout_s (`float`): seconds that a worker may take for one item.
        allow_urls (`bool`, *optional*, defaults to `False`): whether paths may be http(s) addresses.
        extras (`Extras`, *optional*): what else is made of each item.

    Yields:
        `list[tuple[Read, dict]]`: what was read, and the records, of one batch: `path`, `modality`, `score`, `std`,
        `level`, `level_probs`, `error`.
    """
    if model is None:
        yield [(Read(item, error=item.error), make_record(item.path, str(item.error))) for item in items]
        return
    limit = model.batch_limit(batch_size)
    waiting: deque[list[Read]] = deque()

    def batches() -> Generator[list[Any], None, None]:
        read = read_items(model, items, limit.items, workers, timeout_s, allow_urls, extras)
        with contextlib.closing(read):
            for batch in grouped(read, limit):
                waiting.append(batch)
                if media := [each.media for each in batch if each.error is None]:
                    yield media

    with contextlib.closing(batches()) as taken:
        for results in model.score_batches(taken, limit):
            while all(read.error is not None for read in waiting[0]):
                yield _records(waiting.popleft(), [])
            yield _records(waiting.popleft(), results)
    yield from (_records(batch, []) for batch in waiting)


def grouped(reads: Iterable[Read], limit: "BatchLimit") -> Iterator[list[Read]]:
    """Cuts what was read into batches: by ordinal, or by what the device has room for.

    Args:
        reads (`Iterable[Read]`): in rising order of their ordinals.
        limit (`BatchLimit`): of the model.
    """
    if not limit.by_memory:
        size = limit.items
        yield from (list(batch) for _, batch in groupby(reads, key=lambda read: read.item.ordinal // size))
        return
    held: list[Read] = []

    def media() -> Iterator[Any]:
        for read in reads:
            held.append(read)
            if read.error is None:
                yield read.media

    for batch in limit.batches(media()):
        last = next(i for i, read in enumerate(held) if read.media is batch[-1])
        yield held[: last + 1]
        del held[: last + 1]
    if held:
        yield held


@dataclass(frozen=True)
class Load:
    """Task of a worker: reads and cuts one item. It pickles, and needs no torch.

    Args:
        cutter (`MediaCutter`): of the model's processor.
        allow_urls (`bool`): whether an item may be an http(s) address.
        extras (`Extras`, *optional*): what else is made of it.
    """

    cutter: "MediaCutter"
    allow_urls: bool
    extras: Extras = Extras()

    def __call__(self, media: Any) -> Any:
        """Reads and cuts a file, of this machine or of the Hub, or what else `load_media` takes.

        Returns:
            `PreparedMedia`; with extras a tuple of it, the thumbnails and the picture.

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
        return self._all(media) if self.extras != Extras() else self.cutter(media, self.allow_urls)

    def _all(self, item: Any) -> tuple["PreparedMedia", tuple[str, ...], "np.ndarray | None"]:
        import numpy as np
        from PIL import Image

        from ..media_vital import describe_item, load_media
        from ..thumbnails import WatchedClip, data_uri, middle

        media = load_media(item, allow_url=self.allow_urls)
        if isinstance(media, Image.Image):
            shown, prepared = media, self.cutter(media)
            prepared.name = describe_item(item)
        else:
            watched = WatchedClip(media, middle(media))
            prepared = self.cutter(watched)
            shown = Image.fromarray(watched.kept)
        keep = self.extras.picture and shown is media and 3 * shown.width * shown.height <= MAX_PICTURE_BYTES
        thumbnails = tuple(data_uri(shown, side) for side in self.extras.thumbnails)
        return prepared, thumbnails, np.asarray(shown) if keep else None


def read_items(
    model: Any,
    items: Iterable[Item],
    ahead: int,
    workers: int | None,
    timeout_s: float,
    allow_urls: bool = False,
    extras: Extras = Extras(),
) -> Generator[Read, None, None]:
    """Reads items ahead, in processes that may crash or hang: that is an error of the item, not of the run.

    Args:
        model, items, workers, timeout_s, allow_urls, extras: as for [`score_items`].
        ahead (`int`): items of a batch: so many are read while the model works on those before.

    Yields:
        `Read`: one an item, in their order.
    """
    waiting: deque[Item] = deque()

    def readable() -> Iterator[Any]:
        for item in items:
            waiting.append(item)
            if item.error is None:
                yield item.path if item.media is None else item.media

    from ..reading import default_workers, read_ahead

    workers = default_workers() if workers is None else workers
    load = Load(model.processor.cutter, allow_urls, extras)
    with read_ahead(readable(), load, workers=workers, timeout_s=timeout_s, ahead=max(2 * workers, ahead)) as reader:
        for _, media in reader:
            while waiting[0].error is not None:
                yield Read(waiting[0], error=waiting.popleft().error)
            item = waiting.popleft()
            if isinstance(media, ValueError):
                yield Read(item, error=str(media))
            elif extras == Extras():
                yield Read(item, media)
            else:
                yield Read(item, media[0], None, *media[1:])
    yield from (Read(item, error=item.error) for item in waiting)


def _records(batch: list[Read], results: list) -> list[tuple[Read, dict[str, Any]]]:
    done = iter(results)
    return [(r, make_record(r.item.path, r.error or next(done))) for r in batch]


def make_record(path: str, result: "QualityScore | MediaError | str") -> dict[str, Any]:
    """A record of a score, or of what went wrong.

    Args:
        path (`str`): of the item.
        result (`QualityScore`, `MediaError` or `str`): its score, or the reason why there is none.

    Returns:
        `dict`: `path`, `modality`, `score`, `std`, `level`, `level_probs`, of a clip from a file `video_backend`, and
        `error`.
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
        **backend_of(result),
        "error": None,
    }


def backend_of(found: Any) -> dict[str, str]:
    """Returns the part of a record about the decoder: `video_backend` of a clip from a file, else nothing.

    Args:
        found (`QualityScore` or `PreparedMedia`): of the item.
    """
    backend = getattr(found, "video_backend", None)
    return {} if backend is None else {"video_backend": backend}
