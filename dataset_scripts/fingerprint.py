"""Fingerprints of originals: digest, perceptual hashes, and an index of these that finds copies.

Example:

    >>> import numpy as np
    >>> from dataset_scripts.fingerprint import CopyIndex, image_hash
    >>> index = CopyIndex(distance=3)
    >>> picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    >>> index.add("first", [image_hash(picture)])
    >>> next(index.find([image_hash(picture)]))
    'first'
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dataset_scripts.sources import SourceItem
from modeling_vital.media_vital import MediaError, load_media


_THUMBNAIL = 32
_LOW = 8
_BITS = 64
CLIP_FRAMES = (0.25, 0.5, 0.75)
"""Where in a clip the frames are that it is known by, as shares of its length."""


def image_hash(image: np.ndarray) -> int:
    """pHash: the signs, against their median, of the low frequencies of a 32 x 32 grey thumbnail.

    Args:
        image (`np.ndarray` of shape `[H, W, 3]`): RGB uint8.

    Returns:
        `int`: 64 bits. Shrinking, mild compression and small changes of colour turn over few of them.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return _hash_of(cv2.dct(cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)))


def turned_hashes(image: np.ndarray) -> tuple[int, ...]:
    """Hashes of a picture turned by 90, 180 and 270 degrees, and of its mirror image turned by 90 and 270.

    Args:
        image (`np.ndarray` of shape `(height, width, 3)`): uint8, RGB.

    Returns:
        `tuple[int, ...]`: five, each as [`image_hash`] gives it up to rounding.
    """
    small = cv2.resize(image, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    turns = [np.rot90(small, k) for k in (1, 2, 3)] + [np.rot90(small[:, ::-1], k) for k in (1, 3)]
    return tuple(image_hash(np.ascontiguousarray(turn)) for turn in turns)


def _hash_of(spectrum: np.ndarray) -> int:
    low = spectrum[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])  # without the mean brightness, which says nothing of the content
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of an original.

    Attributes:
        sha256 (`str`): of the file.
        modality (`str`): `"image"` or `"video"`.
        hashes (`tuple[int, ...]`): perceptual, one for a picture, one a chosen frame for a clip.
        mirrored (`tuple[int, ...]`): likewise, of the mirror image.
        problem (`str`): why it cannot be used; empty if it can.
        turned (`tuple[tuple[int, ...], ...]`): hashes as above for each way to turn it, see [`turned_hashes`].
    """

    sha256: str = ""
    modality: str = ""
    hashes: tuple[int, ...] = ()
    mirrored: tuple[int, ...] = ()
    problem: str = ""
    turned: tuple[tuple[int, ...], ...] = ()


def fingerprint(item: SourceItem) -> Fingerprint:
    """Opens an original and looks at it. Damage is an answer, not an error."""
    if item.problem:
        return Fingerprint(problem=item.problem)
    try:
        digest = sha256_of(item.media)
        media = load_media(item.media)
        if isinstance(media, Image.Image):
            modality, frames = "image", [np.asarray(media)]
        else:
            wanted = sorted({int(share * media.num_frames) for share in CLIP_FRAMES})
            modality, frames = "video", list(media.iter_frames(wanted))
    except MediaError as error:
        return Fingerprint(problem=without_path(str(error), item.media, item.name))
    except OSError as error:
        return Fingerprint(problem=f"{item.name} cannot be opened ({error.strerror or error})")
    mirrored = tuple(image_hash(frame[:, ::-1]) for frame in frames)
    turned = tuple(zip(*map(turned_hashes, frames), strict=True))
    return Fingerprint(digest, modality, tuple(map(image_hash, frames)), mirrored, turned=turned)


def without_path(message: str, media: Path | bytes | str, name: str) -> str:
    """A message in which the item goes by its name: messages are published, where a file lies is not."""
    return message.replace(str(media), name) if isinstance(media, Path | str) else message


def sha256_of(media: Path | bytes) -> str:
    """Hex digest of a file or of bytes, without reading a large file at once."""
    if isinstance(media, bytes):
        return hashlib.sha256(media).hexdigest()
    digest = hashlib.sha256()
    with media.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


class CopyIndex:
    """Finds the items whose hashes all lie within a distance of the given ones.

    An item is known by a sequence of hashes: one for a picture, one a frame for a clip. Only sequences of one length
    are compared.

    Args:
        distance (`int`): differing bits out of 64 that still make a copy, for each hash.

    Note:
        Hashes are cut into `distance + 1` bands. Two hashes that differ in at most `distance` bits agree in one band
        at least, so that only items that share a band are looked at and none is missed.
    """

    def __init__(self, distance: int) -> None:
        self.distance = distance
        edges = np.linspace(0, _BITS, distance + 2).astype(int)
        self._bands = [(int(low), (1 << int(high - low)) - 1) for low, high in zip(edges, edges[1:], strict=False)]
        self._items: list[tuple[str, tuple[int, ...]]] = []
        self._places: dict[tuple[int, int, int], list[int]] = {}

    def _keys(self, hashes: Sequence[int]) -> list[tuple[int, int, int]]:
        first = hashes[0]
        return [(len(hashes), low, first >> low & mask) for low, mask in self._bands]

    def add(self, name: str, hashes: Sequence[int]) -> None:
        """Enters an item."""
        for key in self._keys(hashes):
            self._places.setdefault(key, []).append(len(self._items))
        self._items.append((name, tuple(hashes)))

    def find(self, hashes: Sequence[int]) -> Iterator[str]:
        """Names of the items entered that these hashes are a copy of, the first entered first."""
        for place in sorted({place for key in self._keys(hashes) for place in self._places.get(key, ())}):
            name, known = self._items[place]
            if all((a ^ b).bit_count() <= self.distance for a, b in zip(hashes, known, strict=True)):
                yield name
