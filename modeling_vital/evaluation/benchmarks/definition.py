"""Definition of a benchmark: its labels and their columns, their scale and direction, splits, and where media lie."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...extras import MissingExtraError
from ...messages import first_line, short


Row = Mapping[str, str]
"""One row of a label table: column -> text."""


class BenchmarkError(ValueError):
    """A copy of a benchmark that is not what its manifest says; the message names what and what to do."""


@contextmanager
def readable(what: str | Path) -> Iterator[None]:
    """Turns whatever is raised inside the block into a [`BenchmarkError`].

    Args:
        what (`str` or `Path`): what is read, for the message.

    Raises:
        BenchmarkError: for any other `Exception` than that of a missing package.
    """
    try:
        yield
    except (BenchmarkError, MissingExtraError):
        raise
    except Exception as error:  # a damaged file makes libraries raise almost anything
        said = short(f"{type(error).__name__}: {first_line(error)}")
        raise BenchmarkError(f"{what} cannot be read ({said}); is it whole, and as it was distributed?") from error


@dataclass(frozen=True)
class Table:
    """A label table as it is distributed.

    Args:
        files (`tuple[str]`): its files, by name or pattern, in whatever folder; all are needed (MAT has several).
        name (`tuple[str]`): names that the column with the item may have; the first found counts. Case is ignored.
        mos (`tuple[str]`): the same for the opinion.
        std (`str`): column of its standard deviation, if there is one.
        split (`str`): column that says which split an item is in.
        splits (`dict[str, str]`): its values -> our split names.
        of_split (`str`): the split that all rows are in, where each has a table of its own.
        sheet (`str`): of an XLSX file; the first by default.
        columns (`tuple[str]`): names of the columns of a text file without a header.
    """

    files: tuple[str, ...]
    name: tuple[str, ...]
    mos: tuple[str, ...]
    std: str = ""
    split: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    of_split: str = ""
    sheet: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Args:
        name (`str`): as on the command line.
        title (`str`): as in publications.
        modality (`str`): `"image"` or `"video"`.
        mos_range (`tuple[float, float]`): ends of the published scale; an opinion outside is an error.
        higher_is_better (`bool`): direction of the published opinions.
        domain (`str`): `"in"` if models of this field usually train on its other splits, else `"out"`; averages over
            benchmarks keep them apart.
        counts (`dict[str, int]`): published number of items of each split.
        default_split (`str`): the split that is reported.
        tables (`tuple[Table]`): alternatives; the first whose files are there counts.
        file (`Callable[[Row, str], str]`): row and item name -> end of the media file's path; the name by default.
        suffixes (`tuple[str]`): tried after `file`, in this order; for names without a suffix.
        folders (`tuple[str]`): where a file lies in several folders, the first of these counts.
        group (`Callable[[Row, str], str]`): row and item name -> its content; each item its own by default.
        distortion (`Callable[[Row, str], str]`): row and item name -> its distortion, if it was made with one.
        split_of (`Callable[[str, str], str]`): item name and group -> split, where the set has no official one.
        exclude (`str`): pattern of names that the protocol skips, such as trial pictures.
        verified (`bool`): the layout was seen in code or tables that read it; otherwise columns are guessed.
        note (`str`): what a reader of results must know.
    """

    name: str
    title: str
    modality: str
    mos_range: tuple[float, float]
    counts: Mapping[str, int]
    tables: tuple[Table, ...]
    higher_is_better: bool = True
    domain: str = "out"
    default_split: str = "all"
    file: Callable[[Row, str], str] | None = None
    suffixes: tuple[str, ...] = ("",)
    folders: tuple[str, ...] = ()
    group: Callable[[Row, str], str] | None = None
    distortion: Callable[[Row, str], str] | None = None
    split_of: Callable[[str, str], str] | None = None
    exclude: str = ""
    verified: bool = True
    note: str = ""

    def oriented(self, mos: float) -> float:
        """The opinion on the same scale with higher as better: mirrored where the published one is not."""
        return mos if self.higher_is_better else self.mos_range[0] + self.mos_range[1] - mos
