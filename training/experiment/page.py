"""docs/experiment.md from the recorded runs: nothing in it is typed by hand but the words between the numbers."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.experiment.analysis import ITEMS, analyse
from training.experiment.claims import CLAIMS, PRIMARY, verdict
from training.experiment.data import SUBSETS
from training.experiment.plan import ABLATIONS, Run


FIGURE = "experiment-srcc.svg"
COLUMNS = {
    "in_domain": "in-domain",
    "held_out_distortions": "held-out distortions",
    "held_out_sources": "held-out sources",
    "video": "clips",
}
ROWS = {
    "base": "base",
    "vital": "VITAL pre-training, decoder frozen",
    "zero": "Zero",
    "warm_up": "Warm-up, 4,000 samples",
    "warm_up_from_base": "Warm-up, encoders of the base",
    "zero_from_not_frozen": "Zero, pre-trained with the decoder",
    "warm_up_from_not_frozen": "Warm-up, pre-trained with the decoder",
    "full": "all pairs, encoders frozen",
    "joint": "all pairs, all learn",
    "probe": "linear probe",
}
"""Kinds of runs of the headline, in order."""


def write_page(plan: Sequence[Run], results: Path, page: Path) -> None:
    """Analyses the recorded runs and writes the page and its figure.

    Args:
        plan (`Sequence[Run]`): of the whole experiment, to name what has not been run.
        results (`Path`): recorded runs.
        page (`Path`): Markdown; the figure goes beside it.
    """
    analysis = analyse(results)
    items = json.loads((results / ITEMS).read_text(encoding="utf-8"))
    page.write_text(render(plan, analysis, items), encoding="utf-8")
    draw(analysis, page.parent / FIGURE)


def render(plan: Sequence[Run], analysis: dict[str, Any], items: dict[str, Any]) -> str:
    """The page.

    Args:
        plan (`Sequence[Run]`): all runs.
        analysis (`dict`): see [`training.experiment.analysis.analyse`].
        items (`dict`): what the test items are, see [`training.experiment.measures.describe_items`].
    """
    runs = {run.name: analysis["runs"][run.name] for run in plan if run.name in analysis["runs"]}
    missing = [run.name for run in plan if run.name not in runs]
    minutes = sum(run["cpu_seconds"] for run in runs.values()) / 60
    state = f"All {len(plan)} runs are finished" if not missing else f"{len(runs)} of {len(plan)} runs are finished"
    sections = [
        _opening(state, minutes, items),
        "## Claim by claim\n\n" + _claims(analysis),
        f"## Scores\n\n![SRCC with the PMOD mean by subset]({FIGURE})\n\n"
        "SRCC with the PMOD mean. One run: value and 95 % interval, bootstrapped over contents. Several seeds: mean, "
        "and least to greatest in brackets.\n\n" + _scores(runs, "srcc"),
        "PLCC with the PMOD mean, likewise:\n\n" + _scores(runs, "plcc"),
        "SRCC with the severity within distortion types (worse damage, lower score; whatever the pictures or clips "
        "show):\n\n" + _scores(runs, "severity_srcc"),
        "## Ablations of the pre-training\n\nOne seed, as many steps; SRCC with the PMOD mean of the decoder it was "
        "trained with.\n\n" + _ablations(runs),
        f"## Texts\n\nWhat `describe` says of {len(items['texts'])} distorted in-domain pictures: share with the "
        "right type (of 25), share within one step of the right severity, share of distinct texts, words a text.\n\n"
        + _texts(runs),
        _details(plan, analysis),
        _remarks(missing),
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _opening(state: str, minutes: float, items: dict[str, Any]) -> str:
    data = items["data"]
    counts = ", ".join(f"{len(items['subsets'][name]['mos'])} {COLUMNS[name]}" for name in SUBSETS)
    held_out = ", ".join(name.replace("_", " ") for name in data["held_out_distortions"])
    return f"""# The paper's experiment, at laptop scale

This page is made by `python -m training.experiment --page` from the runs recorded in
`training/results/tiny_experiment`. {state}; they took {minutes:.0f} minutes of one CPU core.
`make experiment` makes what is missing.

Does pre-training the *vision encoders* on quality, through a decoder that stays frozen, give other decoders something
to read? The paper shows it with models of billions of parameters. Here a family of small ones, one to two million
parameters and one of 135 million, goes through the same code: pairs by `dataset_scripts`, stages by `training/`,
scores by `model.score`.

- *Base family.* One image encoder and one motion encoder, four decoders with tokenizers and projectors of their own:
  A (Qwen2, learned together with the encoders), B (Qwen2, wider and deeper), C (Llama, another vocabulary), and D
  (SmolLM2-135M-Instruct, a Llama that has learned to write from text; its weights come out of a package). They
  learned captions of measured attributes, such as "The warmth of the image is poor. The main colour of the image is
  blue.": the five level words are a scale they know, of other things. One caption in five ends in a list of words that
  has nothing to do with the picture, so that decoders know the words for distortions without knowing how they look.
  "The quality of the image is" A, B and C never saw.
- *Data.* Crops of photos, {data["side"]} pixels wide, and clips of {data["clip_frames"]} frames, split by content,
  {data["train_variants"]} distorted versions of each, judged by {len(data["image_annotators"])} machine annotators.
  Tested on {counts}.
  Never trained on: the distortions {held_out},
  and the sources {", ".join(f"`{name}`" for name in data["held_out_sources"])}.
- *What it is not.* Machine opinions are both what is learned and what is tested; no person was asked."""


def _claims(analysis: dict[str, Any]) -> str:
    rule = (
        "The difference between two models is taken on the same test items, with a paired 95 % interval, bootstrapped "
        "over contents. A claim *held* if the intervals of all seeds and decoders lie above the margin (0 where none "
        "is named), *did not hold* if all lie below, and is *undecided* at this scale otherwise. In-domain pictures "
        "decide; the other columns show the same rule elsewhere. For Zero against its base, both intervals must "
        "not overlap either."
    )
    head = ["claim", "difference", *(COLUMNS[name] for name in SUBSETS)]
    rows = []
    for claim in CLAIMS:
        found = analysis["claims"].get(claim.name, [])
        mine = [one for one in found if one["subset"] == PRIMARY]
        unit = "distinct texts" if claim.measure == "distinct" else "SRCC"
        shown = "-"
        if mine:
            mean = sum(one["difference"] for one in mine) / len(mine)
            low, high = min(one["low"] for one in mine), max(one["high"] for one in mine)
            shown = f"{unit} {mean:+.3f} ({low:+.3f} to {high:+.3f}, {len(mine)} compared)"
        verdicts = [
            verdict([one for one in found if one["subset"] == name], claim.margin, claim.apart)
            if claim.measure == "srcc" or name == PRIMARY
            else "-"
            for name in SUBSETS
        ]
        rows.append([claim.says, shown, f"**{verdicts[0]}**", *verdicts[1:]])
    return f"{rule}\n\n{_table(head, rows)}"


def _scores(runs: dict[str, dict], measure: str) -> str:
    rows = []
    for kind, words in ROWS.items():
        mine = {name: run for name, run in runs.items() if run["kind"] == kind}
        for group in _groups(mine):
            label = words if kind != "probe" else f"linear probe of {group[0].removeprefix('probe-of-')}"
            decoder = mine[group[0]]["decoder"].upper() or "none"
            rows.append([label, decoder, *(_cell([mine[n]["subsets"][s][measure] for n in group]) for s in SUBSETS)])
    return _table(["model", "decoder", *COLUMNS.values()], rows)


def _groups(runs: dict[str, dict]) -> Iterable[list[str]]:
    """Names of the runs that differ in nothing but the seed."""
    groups: dict[str, list[str]] = {}
    for name in runs:
        groups.setdefault(name.rpartition("-s")[0] if "-s" in name and "probe" not in name else name, []).append(name)
    return groups.values()


def _cell(values: Sequence[list[float | None]]) -> str:
    """Value and interval of one run, or mean and range of several."""
    points = [value[0] for value in values if value[0] is not None]
    if not points:
        return "-"
    if len(values) == 1:
        value, low, high = values[0]
        return f"{value:.3f}" if None in (low, high) else f"{value:.3f} ({low:.3f} to {high:.3f})"
    return f"{sum(points) / len(points):.3f} [{min(points):.3f} to {max(points):.3f}]"


def _ablations(runs: dict[str, dict]) -> str:
    seeds = {run["seed"] for run in runs.values() if run["kind"] in ABLATIONS}
    rows = [
        [kind.replace("_", " "), *(_cell([run["subsets"][s]["srcc"]]) for s in SUBSETS)]
        for kind in ("vital", *ABLATIONS)
        for run in runs.values()
        if run["kind"] == kind and (run["seed"] in seeds or not seeds)
    ]
    return _table(["pre-training", *COLUMNS.values()], rows)


def _texts(runs: dict[str, dict]) -> str:
    names = ("type_accuracy", "severity_within_one", "distinct_share", "mean_words")
    rows = [
        [name, *(f"{run['text'][measure]:.{1 if measure == 'mean_words' else 3}f}" for measure in names)]
        for name, run in runs.items()
        if run["text"]
    ]
    return _table(["run", "type", "severity", "distinct", "words"], rows)


def _details(plan: Sequence[Run], analysis: dict[str, Any]) -> str:
    rows = []
    for run in plan:
        done = analysis["runs"].get(run.name)
        settings = run.settings
        steps = settings.get("max_steps", "-")
        samples = settings.get("max_samples", "all") if run.stage != "zero_shot" else "-"
        spent = f"{done['cpu_seconds']:.0f}" if done else "not run"
        rows.append([run.name, run.stage, " + ".join(run.start) or "random weights", str(steps), str(samples), spent])
    return "## Runs\n\n" + _table(["run", "stage", "from", "steps", "samples", "CPU seconds"], rows)


def _remarks(missing: Sequence[str]) -> str:
    lines = [
        "- The settings of all stages are in `training/recipes/tiny_experiment.yaml`. A killed run resumes from its "
        "last checkpoint with the same command; its CPU seconds are then those of the call that finished it.",
        "- Zero asks more of A, B and C than of large models, which know from language what the word quality "
        "means and mean the same by it. Decoders that never saw the word used may each answer the prompt in a way "
        "of their own. That is a reading of the numbers, not something measured. D knows the word; but its answer is "
        "reached through encoders that A, which does not, has taught.",
        "- What was tried before: pre-training with texts at full weight, stopped at 390 of 600 steps, and two "
        "trials without texts of 200 and 160 steps. Their training loss was no better than that of a constant "
        "answer, so steps and the weight of texts were set as they are. No test score of a pre-trained model had "
        "been looked at by then. The warm-ups of other encoders (of the base, of a decoder that was not frozen) "
        "and decoder D were added to the plan after the first scores were known.",
        "- Differences from the paper: the loss of the level is not divided by the tokens of the answer (`per_token: "
        "false`), and batch norms of the encoders follow the batches in pre-training, because convolutions of this "
        "size need them to.",
    ]
    if missing:
        lines.append(f"- Not run yet: {', '.join(missing)}.")
    return "## Remarks\n\n" + "\n".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(analysis: dict[str, Any], path: Path) -> None:
    """Draws SRCC by subset, a bar a model with its interval (several seeds: least to greatest), as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    bars = []
    for kind in ROWS:
        mine = {name: run for name, run in analysis["runs"].items() if run["kind"] == kind}
        bars += [
            (name.rpartition("-s")[0] or name, [mine[n] for n in group])
            for group in _groups(mine)
            for name in group[:1]
        ]
    with plt.rc_context({"svg.hashsalt": "experiment", "svg.fonttype": "none", "font.size": 8}):
        figure, axes = plt.subplots(1, len(SUBSETS), figsize=(10, 0.6 + 0.22 * len(bars)), sharey=True)
        for axis, subset in zip(axes, SUBSETS, strict=True):
            for place, (_, group) in enumerate(bars):
                found = [run["subsets"][subset]["srcc"] for run in group]
                points = [one[0] for one in found if one[0] is not None]
                if not points:
                    continue
                ends = found[0][1:] if len(found) == 1 else [min(points), max(points)]
                mean = sum(points) / len(points)
                axis.barh(place, mean, color="#4477aa")
                if None not in ends:
                    axis.plot(ends, [place, place], color="black", linewidth=1)
            axis.set_title(COLUMNS[subset])
            axis.axvline(0, color="black", linewidth=0.5)
        axes[0].set_yticks(range(len(bars)), [name for name, _ in bars])
        axes[0].invert_yaxis()
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})
        plt.close(figure)
