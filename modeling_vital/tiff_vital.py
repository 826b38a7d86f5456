"""The images inside a TIFF file, and what is a camera raw: such files begin with a small preview of the picture."""

import struct
from dataclasses import dataclass
from typing import BinaryIO


RAW_SUFFIXES = frozenset(
    ".3fr .arw .bay .cap .cr2 .cr3 .crw .dcr .dcs .dng .drf .eip .erf .fff .iiq .k25 .kdc .mdc .mef .mos .mrw .nef "
    ".nrw .orf .pef .ptx .r3d .raf .raw .rw2 .rwl .rwz .sr2 .srf .srw .x3f".split()
)
"""Suffixes, in lower case, of camera raw files."""

_MAGIC = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
_RAW_MAGIC = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb", b"ARRI")
_MAX_DIRECTORIES = 1000
_MAX_ENTRIES = 10_000
_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # of values: BYTE, SHORT, LONG, IFD, LONG8, IFD8
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SUB_DIRECTORIES = (
    254,
    255,
    256,
    257,
    259,
    262,
    330,
)
_CFA_TAGS = {33421, 33422, 50706, 50752}  # the pattern of a sensor's colour filter, DNGVersion, CR2's slices
_RAW_PHOTOMETRICS = {32803, 34892}  # a colour filter array, linear raw
_RAW_COMPRESSIONS = {32767, 32770, 34713, 65000, 65535}  # of Sony, Samsung, Nikon, Kodak, Pentax


@dataclass(frozen=True)
class SubImage:
    """One image of a TIFF file.

    Attributes:
        offset (`int`): of its directory.
        width, height (`int`): pixels.
        page (`int`, *optional*): its place in the chain of pages; `None` for one that hangs below a page.
        is_part (`bool`): whether it is another image at a lower resolution, or a mask of one.
        is_raw (`bool`): whether it holds what a sensor gave, or stands before what does.
    """

    offset: int
    width: int
    height: int
    page: int | None
    is_part: bool
    is_raw: bool


def is_tiff(head: bytes) -> bool:
    """Returns `True` if a file begins as TIFF, or as its large form."""
    return head[:4] in _MAGIC


def is_raw_head(head: bytes) -> bool:
    """Returns `True` if the first bytes of a file are those of a camera raw; for DNG and others see [`sub_images`]."""
    cr2_or_iiq = is_tiff(head) and (head[8:10] == b"CR" or head[8:12] == b"IIII")
    return cr2_or_iiq or head.startswith(_RAW_MAGIC) or head[6:14] == b"HEAPCCDR" or head[4:12] == b"ftypcrx "


def sub_images(stream: BinaryIO) -> list[SubImage]:
    """Lists the images of a TIFF file, as far as its directories can be read.

    Args:
        stream (`BinaryIO`): the file, left where it was.

    Returns:
        `list[SubImage]`: each page, followed by what hangs below it.
    """
    start = stream.tell()
    try:
        return _walk(stream)
    except struct.error:  # The directory of directories itself is cut off; the decoder says so.
        return []
    finally:
        stream.seek(start)


def with_first(data: bytes, offset: int) -> bytes:
    """A TIFF file that begins with another of its images.

    Args:
        data (`bytes`): the file.
        offset (`int`): of the directory of that image.
    """
    order, large = _MAGIC[data[:4]]
    place = 8 if large else 4
    return data[:place] + struct.pack(order + ("Q" if large else "I"), offset) + data[place + (8 if large else 4) :]


def _walk(stream: BinaryIO) -> list[SubImage]:
    stream.seek(0)
    order, large = _MAGIC[stream.read(4)]
    stream.seek(8 if large else 4)
    (offset,) = _unpack(stream, order + ("Q" if large else "I"))
    found: list[SubImage] = []
    seen: set[int] = set()
    below: list[int] = []
    page, pages_left = 0, True
    while len(seen) < _MAX_DIRECTORIES:
        if below:
            here, place = below.pop(0), None
        elif pages_left and offset:
            here, place = offset, page
            page += 1
        else:
            break
        if here in seen:
            pages_left = pages_left and place is None
            continue
        seen.add(here)
        try:
            tags, following = _directory(stream, here, order, large)
        except struct.error:  # cut off
            pages_left = pages_left and place is None
            continue
        if place is not None:
            offset = following
        below += tags.get(_SUB_DIRECTORIES, ())
        found.append(_sub_image(here, place, tags))
    return found


def _sub_image(offset: int, page: int | None, tags: dict[int, tuple[int, ...]]) -> SubImage:
    def first(tag: int) -> int:
        return (tags.get(tag) or (0,))[0]

    raw = bool(_CFA_TAGS & set(tags)) or first(_PHOTOMETRIC) in _RAW_PHOTOMETRICS
    return SubImage(
        offset,
        first(_WIDTH),
        first(_HEIGHT),
        page,
        bool(first(_SUBFILE) & 0b101) or first(_OLD_SUBFILE) == 2,  # 1: at a lower resolution, 4: a mask
        raw or first(_COMPRESSION) in _RAW_COMPRESSIONS,
    )


def _directory(stream: BinaryIO, offset: int, order: str, large: bool) -> tuple[dict[int, tuple[int, ...]], int]:
    """The tags of a directory with whole numbers, as far as they are of use, and where the next directory is."""
    stream.seek(offset)
    (count,) = _unpack(stream, order + ("Q" if large else "H"))
    if count > _MAX_ENTRIES:
        raise struct.error("no directory")
    size, width = (20, 8) if large else (12, 4)
    entries = stream.read(size * count)
    following = _unpack(stream, order + ("Q" if large else "I")) if len(entries) == size * count else (0,)
    tags: dict[int, tuple[int, ...]] = {}
    for at in range(0, len(entries) - size + 1, size):
        tag, kind, length = struct.unpack_from(order + ("HHQ" if large else "HHI"), entries, at)
        letter = _FORMATS.get(kind)
        if letter is None:
            tags[tag] = ()
            continue
        length = min(length, _MAX_DIRECTORIES)
        layout = f"{order}{length}{letter}"
        if struct.calcsize(layout) <= width:
            tags[tag] = struct.unpack_from(layout, entries, at + size - width)
        elif tag == _SUB_DIRECTORIES:
            (place,) = struct.unpack_from(order + ("Q" if large else "I"), entries, at + size - width)
            stream.seek(place)
            tags[tag] = _unpack(stream, layout)
        else:
            tags[tag] = ()
    return tags, following[0]


def _unpack(stream: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))


__all__ = ["RAW_SUFFIXES", "SubImage", "is_raw_head", "is_tiff", "sub_images", "with_first"]
