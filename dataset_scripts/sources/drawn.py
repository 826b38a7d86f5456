"""Drawn originals: pages, tables, code, charts, screenshots and line art, which no package of photographs holds.

Each function draws one clean original, `uint8 [H, W, 3]`, from a size, a [`Look`] and a generator, and depends on
nothing else. [`TRAINING`] and [`HELD_OUT`] share no font and no word, so what is measured on the one was not learned
on the other.

Example:
    >>> draw(768, 512, np.random.default_rng(0)).shape
    (512, 768, 3)
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont


Colour = tuple[int, int, int]
_PILLOWS = ""  # the font inside Pillow


@dataclass(frozen=True)
class Look:
    """Fonts, words and colours of drawn originals.

    Attributes:
        text_fonts (`tuple[str, ...]`): of running text, files of matplotlib; `""` is Pillow's own.
        bold_fonts (`tuple[str, ...]`): of headings.
        code_fonts (`tuple[str, ...]`): fixed width.
        words (`tuple[str, ...]`): of which texts are made.
        papers (`tuple[tuple[str, str], ...]`): background and ink, as hexadecimal colours.
        accents (`tuple[str, ...]`): colours of buttons, curves and bars.
    """

    text_fonts: tuple[str, ...]
    bold_fonts: tuple[str, ...]
    code_fonts: tuple[str, ...]
    words: tuple[str, ...]
    papers: tuple[tuple[str, str], ...]
    accents: tuple[str, ...]


TRAINING = Look(
    text_fonts=(_PILLOWS, _PILLOWS, "DejaVuSans", "DejaVuSerif", "DejaVuSans-Oblique"),
    bold_fonts=("DejaVuSans-Bold", "DejaVuSerif-Bold", _PILLOWS),
    code_fonts=("DejaVuSansMono", "DejaVuSansMono-Bold"),
    words=tuple(
        "the of and to in that water over house from between morning paper which river people small under garden "
        "light number however several years table letter wind after road was once again without market because window "
        "street every long north two station open measure early before summer field with mountain is a it on village "
        "are history general system value result order their language music question experience "
        "12 340 2019 7.5 A B12".split()
    ),
    papers=(
        ("#ffffff", "#000000"), ("#ffffff", "#222222"), ("#f7f7f7", "#333333"), ("#fbf5e6", "#3a2f20"),
        ("#1e1e1e", "#d8d8d8"), ("#0d1117", "#c9d1d9"), ("#282c34", "#abb2bf"), ("#eef2f7", "#1b2a41"),
        ("#e9efe6", "#26352a"), ("#000000", "#ffffff"), ("#123048", "#e8f0f8"), ("#dddddd", "#555555"),
    ),
    accents=("#2f6fde", "#d9412f", "#2c9c4b", "#e0a020", "#7a4fc0", "#109aa6", "#c43b86", "#6b7280"),
)  # fmt: skip
"""What may be trained on."""

HELD_OUT = Look(
    text_fonts=("STIXGeneral", "cmss10", "cmr10"),
    bold_fonts=("STIXGeneralBol", "cmb10"),
    code_fonts=("cmtt10",),
    words=tuple(
        "aber nicht jeder Morgen bringt neue Fragen zwischen Haus und Garten steht ein alter Baum am Ufer des Flusses "
        "wer lange wartet sieht den Zug vorbei gegen Abend wird es still im Dorf niemand kennt die Antwort doch viele "
        "suchen sie seit Jahren ohne Karte oder Licht 48 1.250 1987 3,6 C7 K".split()
    ),
    papers=(
        ("#fefefe", "#101010"), ("#fdf6e3", "#586e75"), ("#f5f5f5", "#202428"), ("#202124", "#e8eaed"),
        ("#002b36", "#93a1a1"), ("#f0ead6", "#41331c"),
    ),
    accents=("#1a73e8", "#b3261e", "#188038", "#c26401", "#8430ce"),
)  # fmt: skip
"""What measures are made of, and nothing is trained on."""


@cache
def _loaded(name: str, size: int) -> ImageFont.FreeTypeFont:
    # The plain layout is the same with and without the library of the other one.
    if name:
        import matplotlib  # here: what only imports this module needs no fonts

        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    return ImageFont.load_default(size).font_variant(layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=16384)
def _piece(name: str, size: int, piece: str) -> tuple[np.ndarray | None, int, int, float]:
    """Draws a piece of text: its coverage of each pixel, uint8 `[h, w]`, its beginning (x, y), and its width."""
    font = _loaded(name, size)
    left, top, right, bottom = font.getbbox(piece)
    if piece == " ":
        return None, 0, 0, font.getlength(piece)
    mask = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), piece, fill=255, font=font)
    return np.asarray(mask), left, top, font.getlength(piece)


@dataclass(frozen=True)
class _Font:
    name: str
    size: int

    def pieces(self, text: str) -> list[tuple[np.ndarray | None, int, int, float]]:
        """[`_piece`] of each word and of each other character: few differ, so that most were drawn before."""
        return [_piece(self.name, self.size, piece) for piece in re.findall(r"[^\W\d_]+|.", text)]

    def width(self, text: str) -> float:
        """Returns the width of a text in pixels."""
        return sum(width for *_, width in self.pieces(text))

    def cut(self, text: str, width: float) -> str:
        """Cuts a text to a width in pixels."""
        while len(text) > 1 and self.width(text) > width:
            text = text[:-1]
        return text


def _rgb(colour: str) -> Colour:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the way from one colour to the other."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))


class _Canvas:
    """Smooth shapes and texts on a picture, `pixels` uint8 `[H, W, 3]`, in the colours and fonts of a look."""

    def __init__(self, width: int, height: int, look: Look, rng: np.random.Generator):
        self.width, self.height, self.look, self.rng = width, height, look, rng
        self.back, self.ink = (_rgb(colour) for colour in look.papers[rng.integers(len(look.papers))])
        self.unit = int(rng.integers(11, 23))  # pixels of a line of running text
        self.pixels = np.empty((height, width, 3), np.uint8)
        self.box(0, 0, width, height, self.back)
        self.body = self.font(look.text_fonts)
        self.accent = self.any_accent()

    def font(self, names: tuple[str, ...], scale: float = 1.0) -> _Font:
        return _Font(names[self.rng.integers(len(names))], max(8, round(self.unit * scale)))

    def any_accent(self) -> Colour:
        return _rgb(self.look.accents[self.rng.integers(len(self.look.accents))])

    def shade(self, share: float) -> Colour:
        """A colour between background and ink."""
        return _mix(self.back, self.ink, share)

    def words(self, count: int) -> str:
        return " ".join(self.look.words[int(self.rng.random() * len(self.look.words))] for _ in range(count))

    def title(self, count: int) -> str:
        return self.words(count).capitalize()

    def text(self, x: float, y: float, text: str, font: _Font | None = None, colour: Colour | None = None) -> None:
        """One line, cut at the edges of the picture."""
        font, colour = font or self.body, np.float32(self.ink if colour is None else colour)
        for cover, left, top, width in font.pieces(text):
            if cover is not None:
                x0, y0 = round(x) + left, round(y) + top
                place = self.pixels[max(0, y0) : max(0, y0 + len(cover)), max(0, x0) : max(0, x0 + cover.shape[1])]
                cut_x, cut_y = max(0, -x0), max(0, -y0)
                cover = cover[cut_y : cut_y + place.shape[0], cut_x : cut_x + place.shape[1], None]
                place[:] = place + (colour - place) * (cover * np.float32(1 / 255)) + 0.5
            x += width

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, radius: float = 0) -> None:
        """A filled rectangle with round corners."""
        x0, y0, x1, y1 = (round(v) for v in (x0, y0, x1, y1))
        radius = round(min(radius, (x1 - x0) / 2, (y1 - y0) / 2))
        if x1 <= x0 or y1 <= y0:
            return
        cv2.rectangle(self.pixels, (x0 + radius, y0), (x1 - radius - 1, y1 - 1), colour, -1)
        if radius > 0:
            cv2.rectangle(self.pixels, (x0, y0 + radius), (x1 - 1, y1 - radius - 1), colour, -1)
            for x in (x0 + radius, x1 - radius - 1):
                for y in (y0 + radius, y1 - radius - 1):
                    cv2.circle(self.pixels, (x, y), radius, colour, -1, cv2.LINE_AA)

    def line(self, points, colour: Colour, width: int = 1, closed: bool = False) -> None:
        """A smooth line through points `[N, 2]` in pixels."""
        fixed = np.round(np.asarray(points, float) * 16).astype(np.int32)
        cv2.polylines(self.pixels, [fixed], closed, colour, max(1, width), cv2.LINE_AA, shift=4)

    def area(self, points, colour: Colour) -> None:
        cv2.fillPoly(self.pixels, [np.round(np.asarray(points, float) * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)

    def disk(self, x: float, y: float, radius: float, colour: Colour, width: int = -1) -> None:
        place = (round(x * 16), round(y * 16))
        cv2.circle(self.pixels, place, max(16, round(radius * 16)), colour, width, cv2.LINE_AA, 4)

    def paragraph(
        self,
        x: float,
        y: float,
        width: float,
        bottom: float,
        lines: int,
        font: _Font | None = None,
        colour: Colour | None = None,
    ) -> float:
        """Ragged lines of words from `y` to at most `bottom`; returns where the next thing may begin."""
        font = font or self.body
        step = round(font.size * self.rng.uniform(1.2, 1.5))
        for number in range(lines):
            if y + step > bottom:
                break
            room = width * self.rng.uniform(0.2, 0.9) if number == lines - 1 else width
            words, used = [], 0.0
            while used < room:
                words.append(self.words(1) if number or words else self.title(1))
                used += font.width(words[-1] + " ")
            line = " ".join(words[:-1] if used > width and len(words) > 1 else words)
            self.text(x, y, font.cut(line, width), font, colour)
            y += step
        return y


def page(width: int, height: int, rng: np.random.Generator, look: Look = TRAINING) -> np.ndarray:
    """A page of text in one to three columns, with headings, rules, lists and grey boxes where figures would be."""
    canvas = _Canvas(width, height, look, rng)
    margin = canvas.unit * rng.uniform(0.6, 3)
    columns = int(rng.integers(1, max(2, min(4, width // (canvas.unit * 14) + 1))))
    gap = canvas.unit * rng.uniform(1, 2.5)
    column = (width - 2 * margin - gap * (columns - 1)) / columns
    top, bottom = margin, height - margin * 0.5
    if rng.random() < 0.6:
        heading = canvas.font(look.bold_fonts, rng.uniform(1.4, 2.4))
        top = canvas.paragraph(margin, top, width - 2 * margin, bottom, 1, heading) + canvas.unit
    for number in range(columns):
        x, y = margin + number * (column + gap), top
        while y < bottom - canvas.unit * 1.5:
            kind = rng.random() if y > top else 1.0  # a column begins with text: no page is without
            if kind < 0.12:
                y = canvas.paragraph(x, y, column, bottom, 1, canvas.font(look.bold_fonts, rng.uniform(1, 1.5)))
            elif kind < 0.22:
                deep = canvas.unit * rng.uniform(4, 10)
                end = min(bottom, y + deep)
                canvas.box(x, y, x + column, end, canvas.shade(rng.uniform(0.08, 0.3)), rng.choice([0, 6]))
                y = end + canvas.unit * 0.4
                y = canvas.paragraph(x, y, column, bottom, 1, canvas.font(look.text_fonts, 0.8), canvas.shade(0.7))
            elif kind < 0.35:
                for _ in range(int(rng.integers(2, 6))):
                    canvas.disk(x + canvas.unit * 0.5, y + canvas.unit * 0.6, canvas.unit * 0.14, canvas.ink)
                    y = canvas.paragraph(x + canvas.unit * 1.2, y, column - canvas.unit * 1.2, bottom, 1)
            elif kind < 0.4:
                canvas.line([(x, y), (x + column, y)], canvas.shade(0.4))
            else:
                y = canvas.paragraph(x, y, column, bottom, int(rng.integers(2, 9)))
            y += canvas.unit * rng.uniform(0.3, 0.9)
    return canvas.pixels


def table(width: int, height: int, rng: np.random.Generator, look: Look = TRAINING) -> np.ndarray:
    """A table or spreadsheet: a head, ruled or striped rows, words on the left and numbers on the right."""
    canvas = _Canvas(width, height, look, rng)
    row = round(canvas.unit * rng.uniform(1.4, 2.2))
    columns = int(rng.integers(2, max(3, min(9, width // (canvas.unit * 6) + 1))))
    edges = np.concatenate([[0], np.cumsum(rng.uniform(0.6, 1.6, columns))])
    left = canvas.unit * rng.uniform(0, 2)
    edges = left + edges / edges[-1] * (width - 2 * left - 1)
    y = canvas.unit * rng.uniform(0, 3)
    ruled, striped, pad = rng.random() < 0.7, rng.random() < 0.5, (row - canvas.unit) * 0.4
    bold, begin = canvas.font(look.bold_fonts), y
    head = canvas.accent if rng.random() < 0.4 else canvas.shade(0.15)
    canvas.box(left, y, width - left, y + row, head)
    number = 0
    while y < height - 1:
        if number and striped and number % 2:
            canvas.box(left, y, width - left, y + row, canvas.shade(0.07))
        for column in range(columns):
            room = edges[column + 1] - edges[column] - canvas.unit * 0.6
            text = canvas.words(2) if column == 0 or not number else f"{rng.uniform(0, 10 ** rng.integers(1, 5)):.2f}"
            font = canvas.body if number else bold
            text = font.cut(text, room)
            shift = 0 if column == 0 or not number else room - font.width(text)
            colour = canvas.ink if number or head != canvas.accent else (255, 255, 255)
            canvas.text(edges[column] + canvas.unit * 0.3 + shift, y + pad, text, font, colour)
        y, number = y + row, number + 1
        if ruled:
            canvas.line([(left, y), (width - left, y)], canvas.shade(0.3))
    if ruled and rng.random() < 0.6:
        for x in edges:
            canvas.line([(x, begin), (x, height)], canvas.shade(0.3))
    return canvas.pixels


def code(width: int, height: int, rng: np.random.Generator, look: Look = TRAINING) -> np.ndarray:
    """An editor or a terminal: indented lines of coloured tokens, with line numbers."""
    canvas = _Canvas(width, height, look, rng)
    font = canvas.font(look.code_fonts)
    letter, step = font.width("m"), round(font.size * rng.uniform(1.15, 1.5))
    colours = [canvas.ink, canvas.ink, *(_mix(canvas.any_accent(), canvas.ink, 0.35) for _ in range(4))]
    numbered, left = rng.random() < 0.6, letter
    if numbered:
        left = letter * 5
        canvas.box(0, 0, left - letter * 0.5, height, canvas.shade(0.05))
    y, depth, number = canvas.unit * rng.uniform(0, 1), 0, int(rng.integers(1, 400))
    while y < height:
        if numbered:
            canvas.text(letter * 0.5, y, f"{number:3d}", font, canvas.shade(0.45))
        number += 1
        if rng.random() > 0.12:
            x = left + depth * 4 * letter
            for _ in range(int(rng.integers(1, 7))):
                mark = str(rng.choice(["(", ")", " = ", ".", ", ", ":", " + ", "[0]", "", " "]))
                token = canvas.words(1).replace(".", "_").lower() + mark
                if x + letter * len(token) > width:
                    break
                canvas.text(x, y, token, font, colours[rng.integers(len(colours))])
                x += letter * len(token)
            depth = int(np.clip(depth + rng.integers(-1, 2), 0, 4))
        y += step
    return canvas.pixels


def chart(width: int, height: int, rng: np.random.Generator, look: Look = TRAINING) -> np.ndarray:
    """A chart of lines, bars or points, with axes, a grid, a title and a legend."""
    canvas = _Canvas(width, height, look, rng)
    small = canvas.font(look.text_fonts, 0.8)
    left, right = canvas.unit * 3.5, width - canvas.unit
    top, bottom = canvas.unit * 3.0, height - canvas.unit * 2.5
    canvas.text(left, canvas.unit * 0.6, canvas.title(4), canvas.font(look.bold_fonts, 1.2))
    ticks = int(rng.integers(3, 7))
    for i in range(ticks + 1):
        y, x = bottom - (bottom - top) * i / ticks, left + (right - left) * i / ticks
        canvas.line([(left, y), (right, y)], canvas.shade(0.15 if i else 0.8))
        canvas.text(canvas.unit * 0.4, y - canvas.unit * 0.5, f"{i * 20 / ticks:.1f}", small, canvas.shade(0.8))
        canvas.text(x - canvas.unit, bottom + canvas.unit * 0.4, f"{i * 5}", small, canvas.shade(0.8))
    canvas.line([(left, top), (left, bottom)], canvas.shade(0.8))
    kind, series = rng.choice(["lines", "bars", "points"]), int(rng.integers(1, 5))
    count = int(rng.integers(5, 25))
    for number in range(series):
        colour = canvas.any_accent()
        values = np.clip(np.cumsum(rng.normal(0, 0.12, count)) + rng.uniform(0.3, 0.7), 0.02, 0.98)
        xs = left + (right - left) * (np.arange(count) + 0.5) / count
        ys = bottom - (bottom - top) * values
        if kind == "lines":
            canvas.line(np.stack([xs, ys], 1), colour, int(rng.integers(1, 4)))
        elif kind == "points":
            ys = np.clip(ys + rng.normal(0, (bottom - top) * 0.05, count), top, bottom)
            for x, y in zip(xs, ys, strict=True):
                canvas.disk(x, y, rng.uniform(2, 5), colour)
        else:
            wide = (right - left) / count / (series + 1)
            for x, y in zip(xs, ys, strict=True):
                start = x + (number - series / 2) * wide
                canvas.box(start, y, start + wide * 0.9, bottom, colour)
        canvas.box(right - canvas.unit * 7, top + number * canvas.unit * 1.3, right - canvas.unit * 6.2,
                   top + number * canvas.unit * 1.3 + canvas.unit * 0.8, colour)  # fmt: skip
        canvas.text(right - canvas.unit * 5.8, top + number * canvas.unit * 1.3 - 2, canvas.words(1), small)
    return canvas.pixels


def screenshot(width: int, height: int, rng: np.random.Generator, look: Look = TRAINING) -> np.ndarray:
    """A program's window: a bar, a list with icons at the side, cards with texts, buttons, switches and fields."""
    canvas = _Canvas(width, height, look, rng)
    unit, small = canvas.unit, canvas.font(look.text_fonts, 0.85)
    bold = canvas.font(look.bold_fonts, 1.1)
    bar = round(unit * rng.uniform(1.8, 3))
    canvas.box(0, 0, width, bar, canvas.accent if rng.random() < 0.5 else canvas.shade(0.12))
    light = (255, 255, 255) if tuple(canvas.pixels[2, 2]) == canvas.accent else canvas.ink
    canvas.text(unit, bar * 0.5 - unit * 0.6, canvas.title(2), bold, light)
    for i in range(3):
        canvas.disk(width - unit * (1 + 1.5 * i), bar / 2, unit * 0.4, _mix(light, canvas.back, 0.3), 2)
    side = round(min(width * 0.35, unit * rng.uniform(6, 12))) if rng.random() < 0.7 and width > unit * 14 else 0
    if side:
        canvas.box(0, bar, side, height, canvas.shade(0.06))
        for number, y in enumerate(np.arange(bar + unit, height - unit, unit * rng.uniform(1.8, 2.8))):
            if number == 1:
                canvas.box(unit * 0.3, y - unit * 0.4, side - unit * 0.3, y + unit * 1.4, canvas.shade(0.18), 5)
            _icon(canvas, unit, y + unit * 0.5, unit * 0.5)
            canvas.text(unit * 2, y - unit * 0.1, canvas.words(1), small)
    y = bar + unit
    while y < height - unit * 2:
        columns = int(rng.integers(1, max(2, min(4, (width - side) // (unit * 10) + 1))))
        wide = (width - side - unit * (columns + 1)) / columns
        deep = unit * rng.uniform(3, 11)
        for number in range(columns):
            x = side + unit + number * (wide + unit)
            _card(canvas, x, y, x + wide, min(height + unit, y + deep), bold, small)
        y += deep + unit
    return canvas.pixels


def _icon(canvas: _Canvas, x: float, y: float, radius: float) -> None:
    """A small sign of one to three simple shapes."""
    colour = canvas.any_accent() if canvas.rng.random() < 0.5 else canvas.shade(0.7)
    kind = canvas.rng.integers(4)
    if kind == 0:
        canvas.disk(x, y, radius, colour)
        canvas.line(
            [(x - radius * 0.4, y), (x, y + radius * 0.4), (x + radius * 0.5, y - radius * 0.4)], canvas.back, 2
        )
    elif kind == 1:
        canvas.box(x - radius, y - radius, x + radius, y + radius, colour, radius * 0.3)
    elif kind == 2:
        angles = np.arange(int(canvas.rng.integers(3, 7))) * 2 * np.pi / 5 - np.pi / 2
        canvas.area(np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1), colour)
    else:
        for shift in (-0.7, 0, 0.7):
            canvas.line([(x - radius, y + shift * radius), (x + radius, y + shift * radius)], colour, 2)


def _card(canvas: _Canvas, x0: float, y0: float, x1: float, y1: float, bold, small) -> None:
    """A card of a screen: a title, some lines, and what one presses."""
    rng, unit = canvas.rng, canvas.unit
    canvas.box(x0 - 1, y0 - 1, x1 + 1, y1 + 1, canvas.shade(0.25), 8)
    canvas.box(x0, y0, x1, y1, canvas.shade(rng.choice([0.0, 0.03, 0.1])), 7)
    x, y, room = x0 + unit * 0.8, y0 + unit * 0.6, x1 - x0 - unit * 1.6
    if rng.random() < 0.4:
        canvas.disk(x + unit, y + unit, unit, canvas.any_accent())
        x, room = x + unit * 2.6, room - unit * 2.6
    y = canvas.paragraph(x, y, room, y1, 1, bold)
    y = canvas.paragraph(x, y, room, y1 - unit * 2, int(rng.integers(1, 5)), small, canvas.shade(0.75))
    y += unit * 0.4
    if y + unit * 1.8 > y1:
        return
    kind = rng.integers(4)
    if kind == 0:  # buttons
        for number in range(int(rng.integers(1, 3))):
            start = x + number * unit * 6
            if start + unit * 5.4 > x1:
                break
            colour = canvas.accent if number == 0 else canvas.shade(0.2)
            canvas.box(start, y, start + unit * 5.4, y + unit * 1.7, colour, rng.choice([3, 8, 20]))
            label = (255, 255, 255) if number == 0 else canvas.ink
            canvas.text(start + unit * 0.8, y + unit * 0.25, canvas.title(1)[:8], small, label)
    elif kind == 1:  # a field
        canvas.box(x, y, x + room, y + unit * 1.7, canvas.shade(0.4), 4)
        canvas.box(x + 1, y + 1, x + room - 1, y + unit * 1.7 - 1, canvas.back, 3)
        canvas.text(x + unit * 0.4, y + unit * 0.25, canvas.words(1), small, canvas.shade(0.5))
    elif kind == 2:  # progress
        canvas.box(x, y + unit * 0.5, x + room, y + unit, canvas.shade(0.2), unit)
        canvas.box(x, y + unit * 0.5, x + room * rng.uniform(0.1, 0.9), y + unit, canvas.accent, unit)
    else:  # a switch
        canvas.box(x, y, x + unit * 2.4, y + unit * 1.3, canvas.accent, unit)
        canvas.disk(x + unit * 1.7, y + unit * 0.65, unit * 0.5, (255, 255, 255))


def line_art(width: int, height: int, rng: np.random.Generator, look: Look = TRAINING) -> np.ndarray:
    """A drawing in ink: smooth strokes, closed shapes, hatching and flat fills, as in comics, maps and diagrams."""
    canvas = _Canvas(width, height, look, rng)
    size, thick = min(width, height), int(rng.integers(1, 5))
    coloured, turn = rng.random() < 0.5, np.linspace(0, 2 * np.pi, 60)
    for _ in range(int(rng.integers(8, 26))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        radius = size * rng.uniform(0.04, 0.3)
        colour = canvas.any_accent() if coloured and rng.random() < 0.5 else canvas.ink
        kind = rng.integers(5)
        if kind == 0:  # a blob, filled or not
            waves = sum(rng.normal(0, 0.25 / k) * np.sin(k * turn + rng.uniform(0, 6)) for k in (1, 2, 3, 4))
            points = np.stack([x + radius * (1 + waves) * np.cos(turn), y + radius * (1 + waves) * np.sin(turn)], 1)
            if rng.random() < 0.6:
                canvas.area(points, _mix(colour, canvas.back, rng.uniform(0.2, 0.9)) if coloured else canvas.back)
            canvas.line(points, colour, thick, closed=True)
        elif kind == 1:  # a long stroke
            path = np.cumsum(rng.normal(0, 0.25, (12, 2)), 0)
            path = np.stack([np.interp(np.linspace(0, 11, 60), np.arange(12), axis) for axis in path.T], 1)
            path = cv2.blur(path, (1, 9), borderType=cv2.BORDER_REPLICATE)
            canvas.line(np.array([x, y]) + path * radius * 2, colour, thick)
        elif kind == 2:  # hatching
            angle, gap = rng.uniform(0, np.pi), rng.uniform(4, 12)
            along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
            for step in np.arange(-radius, radius, gap):
                half = np.sqrt(max(0, radius**2 - step**2))
                middle = np.array([x, y]) + across * step
                canvas.line([middle - along * half, middle + along * half], colour, 1)
        elif kind == 3:  # a polygon
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
            points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
            if coloured and rng.random() < 0.5:
                canvas.area(points, colour)
            canvas.line(points, canvas.ink, thick, closed=True)
        else:  # rings
            for share in np.linspace(1, 0.2, int(rng.integers(1, 6))):
                canvas.disk(x, y, radius * share, colour, thick)
    for _ in range(int(rng.integers(0, 4))):
        text = canvas.title(2)
        canvas.text(rng.uniform(0, width * 0.8), rng.uniform(0, height * 0.9), text, canvas.font(look.bold_fonts, 1.2))
    return canvas.pixels


DRAWN: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function for function in (page, table, code, chart, screenshot, line_art)
}
"""Kind -> function."""

_LIKELY = (0.3, 0.1, 0.15, 0.1, 0.2, 0.15)


def draw(width: int, height: int, rng: np.random.Generator, look: Look = TRAINING) -> np.ndarray:
    """Draws an original of a random kind of [`DRAWN`].

    Args:
        width, height (`int`): in pixels, at least 64.
        rng (`np.random.Generator`): source of chance.
        look (`Look`, *optional*, defaults to [`TRAINING`]): fonts, words and colours.

    Returns:
        `np.ndarray`: uint8 `[height, width, 3]`.

    Raises:
        ValueError: if the picture would be smaller than 64 pixels on a side.
    """
    if min(width, height) < 64:
        raise ValueError(f"A drawn picture needs at least 64 pixels on each side, got {width} x {height}.")
    kind = str(rng.choice(list(DRAWN), p=_LIKELY))
    return DRAWN[kind](width, height, rng, look)
