"""Renders rows as a page: what is shown, what is skipped, and where the limits are."""

import base64
import datetime
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np

from ..local_quality import QualityCurve, curve_svg, scale_colors
from ..reading import TIMEOUT_S, read_ahead
from ..spreadsheet import as_text
from ..thumbnails import Picture, load_picture


MAX_ROWS = 5_000
MAX_THUMBNAILS = 2_000
MAX_CURVES = 60
MAX_ERRORS = 500
SHOWN = 8
BINS = 20
SPREAD = 0.1
"""Scores that differ by less tell little apart: files are called worst or best only beyond it."""
GOOD_FROM = 0.6
"""Scores from here on mean good or high, and no file that has one is called worst."""
PICTURE_SIDES = ROW_PX, CARD_PX = 64, 240
"""Longer sides of the pictures of a page, pixels."""

_TEMPLATES = Path(__file__).parent


@dataclass
class ReportPage:
    """Content of a page.

    Attributes:
        rows (`list[dict]`): `path`, and `score`, `std`, `level`, `modality`, `tag`, or `error`; see `read_rows`.
            `file` is what to open in place of `path`; if it is `None`, no picture of the row is shown.
        title (`str`): what was scored, in words.
        model (`str`): name of the model, `"not recorded"` where the rows do not tell.
        revision (`str`, *optional*): which state of the model, where it is known.
        made (`datetime.datetime`): when the page is made.
        curves (`dict[str, QualityCurve]`): of clips, by path.
        notes (`list[str]`): what a reader must know, such as that the run was stopped.
        folder (`Path`, *optional*): where the page will lie. Names link to files in or below it, by relative paths.
        score_range (`tuple[float, float]`, *optional*): lowest and highest score of the model, where it is known.
        maps (`dict[str, str]`): of pictures, by path, as data URIs.
        pictures (`dict[str, Sequence[str]]`): by path the data URIs that [`show`] keeps.
    """

    rows: list[dict[str, Any]]
    title: str
    model: str
    revision: str | None = None
    made: datetime.datetime = field(default_factory=lambda: datetime.datetime.now().astimezone())
    curves: dict[str, QualityCurve] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, Sequence[str]] = field(default_factory=dict)
    folder: Path | None = None
    score_range: tuple[float, float] | None = None
    maps: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """The folder that all files are in or below; paths on the page start there. Empty where there is none."""
        folders = [os.path.dirname(os.path.abspath(row["path"])) for row in self.rows if _is_local(row["path"])]
        try:
            return os.path.commonpath(folders) if folders else ""
        except ValueError:  # two drives
            return ""

    def worst_rows(self) -> list[dict[str, Any]]:
        """The lowest scores, as far as they stand out: `SPREAD` below the middle one, and not called good."""
        good = _from_worst(self.rows)
        few = good[: min(len(good) // 4, SHOWN)]
        return [row for row in few if row["score"] < min(good[len(good) // 2]["score"] - SPREAD, GOOD_FROM)]

    def best_rows(self) -> list[dict[str, Any]]:
        """The highest scores, where the scores differ at all."""
        good = _from_worst(self.rows)
        few = good[::-1][: min(len(good) // 4, SHOWN)]
        return few if few and few[0]["score"] - good[0]["score"] >= SPREAD else []

    def show(self, made: Iterable[tuple[dict[str, Any], Sequence[str]]]) -> None:
        """Keeps pictures that were made when rows were read, so that their files are not read again.

        Args:
            made (`Iterable[tuple[dict, Sequence[str]]]`): rows of the page and their pictures as data URIs, of
                `PICTURE_SIDES` each, or none. Those that the page has no room for are dropped.
        """
        self.pictures.update((row["path"], pictures) for row, pictures in made if pictures and row["error"] is None)
        if len(self.pictures) > 2 * MAX_THUMBNAILS + 2 * SHOWN:
            good = _from_worst(self.rows)
            kept = {row["path"] for row in [*good[:MAX_THUMBNAILS], *good[-SHOWN:]]}
            self.pictures = {path: pictures for path, pictures in self.pictures.items() if path in kept}


def render_page(
    page: ReportPage,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = 0,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Writes the page.

    Its size has a limit, whatever the number of rows: it holds `MAX_ROWS` rows, the worst first, `MAX_THUMBNAILS`
    thumbnails of some 1.5 kB, and `MAX_CURVES` curves, and says what it leaves out. Names and messages are text, never
    markup; a content policy in the page keeps it from asking for anything, and from running any script but its own.

    Args:
        page ([`ReportPage`]): what it is about.
        progress (`Callable[[int, int], None]`, *optional*): told after each thumbnail how many are done, and of how
            many.
        workers (`int`, *optional*, defaults to 0): processes that read the files, see [`read_ahead`].
        timeout_s (`float`, *optional*, defaults to 120): seconds that one file may take a worker.

    Returns:
        `str`: HTML, to be written as UTF-8.
    """
    good = _from_worst(page.rows)
    errors = [row for row in page.rows if row["error"] is not None]
    shown = good[:MAX_ROWS]
    worst, best = page.worst_rows(), page.best_rows()
    pictured = shown[:MAX_THUMBNAILS]
    clips = [row for row in good if row["path"] in page.curves][:MAX_CURVES]
    cards = [*worst, *best]
    pictures = [_picture(page, row, ROW_PX) for row in pictured] + [_picture(page, row, CARD_PX) for row in cards]
    pictures += [_picture(page, row, CARD_PX, page.curves[row["path"]].worst_frame) for row in clips]
    made = iter(_thumbnails(pictures, progress, workers, timeout_s))
    root = page.root
    rows = [_entry(page, root, row, next(made)) for row in pictured]
    rows += [_entry(page, root, row, None) for row in shown[len(pictured) :]]
    cards = [_entry(page, root, row, next(made)) for row in cards]
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            page=page,
            title=_text(page.title),
            revision=_text(page.revision or ""),
            made=page.made.strftime("%Y-%m-%d %H:%M %Z").strip(),
            totals=_totals(good, errors),
            histogram=_histogram([row["score"] for row in good]),
            groups=[
                ("Worst", cards[: len(worst)]),
                ("Best", cards[len(worst) :]),
            ],
            clips=[_clip(_entry(page, root, row, next(made)), page.curves[row["path"]]) for row in clips],
            rows=rows,
            errors=[
                {"path": _text(_within(root, row["path"])), "error": _text(_without(root, row["error"]))}
                for row in errors[:MAX_ERRORS]
            ],
            notes=[_text(_without(root, note)) for note in page.notes],
            model=_text(os.path.basename(page.model) if os.path.isabs(page.model) else page.model),
            left_out=_left_out(page, good, errors, pictured),
            tagged=any(row.get("tag") for row in shown),
            style=(_TEMPLATES / "page.css").read_text(encoding="utf-8"),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )


def _text(text: str) -> str:
    """Text that UTF-8 has, on one line, and no formula where it is pasted: a file's name may be any bytes."""
    return as_text("".join(char if char.isprintable() else ascii(char)[1:-1] for char in text))


def _is_local(path: str) -> bool:
    return "://" not in path


def _within(root: str, path: str) -> str:
    """A path without the folder that all are in, so that a page that is passed on tells nothing of the disk."""
    return os.path.relpath(os.path.abspath(path), root) if root and _is_local(path) else path


def _without(root: str, text: str) -> str:
    """A message without the folder that all are in."""
    return text.replace(root + os.sep, "") if root else text


def _link(page: ReportPage, row: dict[str, Any]) -> str | None:
    """The relative address of a file that is in or below the folder of the page."""
    file = row.get("file", row["path"])
    if page.folder is None or file is None or not _is_local(file):
        return None
    path = os.path.relpath(os.path.abspath(file), os.path.abspath(page.folder))
    inside = not path.startswith(os.pardir + os.sep) and not os.path.isabs(path)
    return "./" + quote(path.replace(os.sep, "/").encode("utf-8", "surrogateescape")) if inside else None


def _entry(page: ReportPage, root: str, row: dict[str, Any], picture: str | None) -> dict[str, Any]:
    path = _text(_within(root, row["path"]))
    color = scale_colors(np.array(row["score"]))
    return {
        "path": path,
        "name": _text(os.path.basename(row["path"])) or path,
        "link": _link(page, row),
        "map": page.maps.get(row["path"]),
        "picture": picture,
        "score": row["score"],
        "std": row.get("std"),
        "level": _text(row.get("level") or ""),
        "modality": _text(row.get("modality") or ""),
        "tag": "" if row.get("tag") == "none" else _text(row.get("tag") or ""),
        "color": f"#{color.tobytes().hex()}",
    }


def _from_worst(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that have a score, the lowest first."""
    return sorted((row for row in rows if row["error"] is None), key=lambda row: row["score"])


def _picture(page: ReportPage, row: dict[str, Any], side: int, frame: int | None = None) -> Picture | str | None:
    """A picture to be made, or one that was made when the row was read."""
    file, made = row.get("file", row["path"]), page.pictures.get(row["path"])
    if made and frame is None:
        return made[PICTURE_SIDES.index(side)]
    return None if file is None else Picture(file, side, frame)


def _thumbnails(
    pictures: list[Picture | str | None], progress: Callable[[int, int], None], workers: int | None, timeout_s: float
) -> Iterator[str | None]:
    """One data URI a picture, in order; `None` where there is none, or what it is of cannot be read."""
    wanted = [picture for picture in pictures if isinstance(picture, Picture)]
    with read_ahead(wanted, load_picture, workers=workers if wanted else 0, timeout_s=timeout_s) as reader:
        for done, picture in enumerate(pictures, start=1):
            result = next(reader)[1] if isinstance(picture, Picture) else picture
            yield result if isinstance(result, str) else None
            progress(done, len(pictures))


def _clip(entry: dict[str, Any], curve: QualityCurve) -> dict[str, Any]:
    scores = [point.score for point in curve.points]
    if not curve.stands_out:
        return {**entry, "curve": None, "low": min(scores), "high": max(scores)}
    svg = curve_svg(curve, f"Quality of {entry['name']} over time")
    return {**entry, "curve": svg, "worst_s": curve.worst_frame_s}


def _totals(good: list[dict[str, Any]], errors: list[dict[str, Any]]) -> list[tuple[str, str]]:
    kinds = [row.get("modality") for row in good]
    totals = [
        ("files", f"{len(good) + len(errors):,}"),
        ("pictures", f"{kinds.count('image'):,}"),
        ("clips", f"{kinds.count('video'):,}"),
        ("without a score", f"{len(errors):,}"),
    ]
    if good:
        scores = np.array([row["score"] for row in good])
        totals += [("mean", f"{scores.mean():.2f}"), ("median", f"{np.median(scores):.2f}")]
    return totals


def _histogram(scores: Sequence[float]) -> list[dict[str, Any]]:
    """One bar a bin: from, to, count, height in [0, 100] and colour."""
    edges = np.arange(BINS + 1) / BINS  # so that 0.6 itself begins a bin, as its label says
    counts, _ = np.histogram(scores, bins=edges)
    colors = scale_colors((edges[:-1] + edges[1:]) / 2)
    highest = max(int(counts.max()), 1)
    return [
        {
            "low": float(edges[i]),
            "high": float(edges[i + 1]),
            "count": int(counts[i]),
            "height": round(100 * int(counts[i]) / highest, 2),
            "color": f"#{colors[i].tobytes().hex()}",
        }
        for i in range(BINS)
    ]


def _left_out(
    page: ReportPage, good: list[dict[str, Any]], errors: list[dict[str, Any]], pictured: list[dict[str, Any]]
) -> list[str]:
    said = []
    if len(good) > MAX_ROWS:
        said.append(f"The table has the {MAX_ROWS:,} worst of {len(good):,} files.")
    if len(good) > len(pictured):
        said.append(f"Only the {len(pictured):,} worst files have a thumbnail in the table.")
    if len(page.curves) > MAX_CURVES:
        said.append(f"Only the {MAX_CURVES} worst of {len(page.curves):,} clips have a curve.")
    if len(errors) > MAX_ERRORS:
        said.append(f"Only the first {MAX_ERRORS} of {len(errors):,} errors are listed.")
    return said


__all__ = ["ReportPage", "render_page"]
