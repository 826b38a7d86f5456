"""The pictures of a card, drawn from its statistics."""

from pathlib import Path
from typing import Any

from dataset_scripts.build_config import BuildError
from dataset_scripts.statistics import MAX_STD, SCORE_BINS, STD_BINS
from modeling_vital.extras import require


PLOT_DIR = "plots"
_COLOURS = {"image": "#2a6fdb", "video": "#e07b39", "distortion": "#2a6fdb", "description": "#e07b39"}


def draw_plots(numbers: dict[str, Any], folder: Path) -> dict[str, str]:
    """Draws what there is to draw.

    Args:
        numbers (`dict`): from [`dataset_scripts.statistics.describe_folder`].
        folder (`Path`): of the data set; pictures go to `plots/` in it.

    Returns:
        `dict[str, str]`: path below `folder` -> what it shows, in words.

    Raises:
        BuildError: matplotlib is missing.
    """
    make_figure = require("matplotlib.figure", "data", BuildError).Figure
    target = folder / PLOT_DIR
    target.mkdir(parents=True, exist_ok=True)
    made = {}

    def figure(name: str, words: str, draw: Any, size: tuple[float, float] = (6.4, 3.6)) -> None:
        sheet = make_figure(figsize=size, dpi=110, layout="constrained")  # not pyplot: no window system is asked for
        draw(sheet)
        sheet.savefig(target / f"{name}.png", metadata={"Software": None})
        made[f"{PLOT_DIR}/{name}.png"] = words

    scores = numbers["scores"]
    if scores:
        figure(
            "scores", "Histogram of the mean opinion (`mos`).", lambda f: _histogram(f, scores, "mos", SCORE_BINS, 1.0)
        )
        words = "Histogram of the spread of opinions (`std`), from which PMOD is made."
        figure("spread", words, lambda f: _histogram(f, scores, "std", STD_BINS, MAX_STD))
    for modality, part in scores.items():
        names = part["agreement"]["annotators"]
        if len(names) > 1:
            words = f"Spearman correlation between annotators over all {modality} rows."
            side = 1.8 + 0.65 * len(names)
            figure(f"agreement_{modality}", words, lambda f, p=part: _matrix(f, p["agreement"]), (side + 0.6, side))
    if numbers["word_histogram"]:
        figure("words", "Words of the texts.", lambda f: _words(f, numbers["word_histogram"]))
    return made


def _histogram(sheet: Any, scores: dict[str, Any], what: str, bins: int, upper: float) -> None:
    panels = sheet.subplots(1, len(scores), squeeze=False)[0]
    for axes, (modality, part) in zip(panels, scores.items(), strict=True):
        width = upper / bins
        left = [index * width for index in range(bins)]
        axes.bar(left, part[f"{what}_histogram"], width, align="edge", color=_COLOURS[modality])
        axes.set(xlabel=what, ylabel="rows", title=f"{modality} ({part['rows']})", xlim=(0, upper))
        axes.spines[["top", "right"]].set_visible(False)


def _matrix(sheet: Any, part: dict[str, Any]) -> None:
    axes = sheet.subplots()
    names = part["annotators"]
    values = [[float("nan") if value is None else value for value in line] for line in part["srcc"]]
    shown = axes.imshow(values, vmin=-1, vmax=1, cmap="RdBu")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            ink = "white" if abs(value) > 0.6 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=9)
    sheet.colorbar(shown, ax=axes, label="Spearman correlation", shrink=0.8)


def _words(sheet: Any, histograms: dict[str, dict[str, int]]) -> None:
    panels = sheet.subplots(1, len(histograms), squeeze=False)[0]
    for axes, (config, counts) in zip(panels, histograms.items(), strict=True):
        lengths = [int(length) for length in counts]
        axes.bar(lengths, list(counts.values()), color=_COLOURS[config])
        axes.set(xlabel="words", ylabel="texts", title=config)
        axes.spines[["top", "right"]].set_visible(False)
