"""The card of a data set: YAML that `load_dataset` and the Hub read, and what a reader should know. All generated."""

from pathlib import Path
from typing import Any

from datasets.info import DatasetInfo, DatasetInfosDict
from huggingface_hub import DatasetCardData

from dataset_scripts.build_config import BuildConfig
from dataset_scripts.card_samples import NAME as SAMPLES
from dataset_scripts.pmod import DEFAULT_MAX_RESIDUAL, LEVEL_SCALE
from dataset_scripts.schema import row_features
from dataset_scripts.sources.base import UNKNOWN_LICENSE
from dataset_scripts.validator import DATA_DIR, FILE_PREFIX
from modeling_vital.levels_vital import LEVEL_VALUES, LEVEL_WORDS
from modeling_vital.publishing.data_card import add_data_files, card_text


_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_CONFIG_WORDS = {
    "scoring": "one item, the opinions of the annotators and their distribution over five levels",
    "pairwise": "two versions of one original, the same for both, and which is better",
    "distortion": "one item and what was done to it, in words (`none` for an original as it came)",
    "description": "one item and a description of its quality that passed every check",
}


def card_data(numbers: dict[str, Any], config: BuildConfig) -> DatasetCardData:
    """The YAML block.

    Args:
        numbers (`dict`): from [`dataset_scripts.statistics.describe_folder`].
        config (`BuildConfig`): what was built.

    Returns:
        `DatasetCardData`: with `configs` and `dataset_info` for every configuration that has rows.
    """
    rows = numbers["rows"]
    total = sum(count for splits in rows.values() for count in splits.values())
    data = DatasetCardData(
        pretty_name=config.publish.title,
        license="other",  # every item has its own, in the column `license`
        license_name="per-item",
        annotations_creators=["machine-generated"],
        language=["en"],
        size_categories=[next((name for limit, name in _SIZES if total < limit), "n>10M")],
        task_categories=["image-text-to-text", "video-text-to-text"],
        tags=["image-quality-assessment", "video-quality-assessment", "vital"],
    )
    infos = {
        name: DatasetInfo(
            features=row_features(name, config.annotate.names),
            config_name=name,
            splits={
                split: {"name": split, "num_examples": count, "num_bytes": numbers["table_bytes"][name][split]}
                for split, count in splits.items()
            },
        )
        for name, splits in rows.items()
    }
    DatasetInfosDict(infos).to_dataset_card_data(data)
    files = {
        name: {split: f"{DATA_DIR}/{name}/{FILE_PREFIX}-{split}*.parquet" for split in splits}
        for name, splits in rows.items()
    }
    add_data_files(data, files, default="scoring")
    return data


def render_card(numbers: dict[str, Any], config: BuildConfig, plots: dict[str, str], report: dict[str, Any]) -> str:
    """Writes the card.

    Args:
        numbers (`dict`): from [`dataset_scripts.statistics.describe_folder`].
        config (`BuildConfig`): what was built.
        plots (`dict[str, str]`): picture -> what it shows.
        report (`dict`): run report, for what was skipped.

    Returns:
        `str`: `README.md`.
    """
    samples = {name: words for name, words in plots.items() if Path(name).name == SAMPLES}
    plots = {name: words for name, words in plots.items() if name not in samples}
    parts = [
        f"# {config.publish.title}\n\n{_summary(numbers)}",
        *(f"![Sample rows]({name})\n\n{words}" for name, words in samples.items()),
        _configs_section(numbers),
        _loading_section(numbers),
        _columns_section(config),
        _labels_section(config),
        _sources_section(numbers, report),
        _statistics_section(numbers, plots),
    ]
    return card_text({}, "\n\n".join(parts), card_data(numbers, config))


def _summary(numbers: dict[str, Any]) -> str:
    counts = sorted(numbers["originals_by_modality"].items())
    kinds = " and ".join(f"{count} {kind}{'s' if count != 1 else ''}" for kind, count in counts)
    return (
        f"Pictures and clips with machine opinions of their quality, for training visual quality models in the manner "
        f"of [VITAL](https://arxiv.org/abs/2511.17962). Made from {kinds}, "
        f"{numbers['bytes'] / 2**20:,.0f} MiB in {numbers['files']} Parquet files.\n\n"
        "No human rated anything here: the labels are those of published metrics on synthetic distortions."
    )


def _configs_section(numbers: dict[str, Any]) -> str:
    splits = [split for split in ("train", "validation", "test") if any(split in s for s in numbers["rows"].values())]
    lines = [f"| configuration | a row is | {' | '.join(splits)} |", "|---|---|" + "---:|" * len(splits)]
    for name, counts in numbers["rows"].items():
        cells = " | ".join(f"{counts.get(split, 0):,}" for split in splits)
        lines.append(f"| `{name}` | {_CONFIG_WORDS[name]} | {cells} |")
    if "description" not in numbers["rows"]:
        lines.append(
            "\nThere is no configuration `description`: no interpreter was configured, and nothing is made up."
        )
    lines.append(
        "\nSplits are by original (`content_id`): no two splits share one. Copies, by perceptual hash, were skipped."
    )
    return "## Configurations\n\n" + "\n".join(lines)


def _loading_section(numbers: dict[str, Any]) -> str:
    name, splits = next(iter(numbers["rows"].items()))
    return f"""## Loading

```python
from datasets import load_dataset

rows = load_dataset("PATH_OR_ORG/NAME", "{name}", split="{next(iter(splits))}", streaming=True)
row = next(iter(rows))
row["images"], row["messages"]  # pictures as Pillow images; clips in row["videos"] as {{"bytes", "path"}}
```

Clips are left encoded, so that loading needs no video decoder."""


def _columns_section(config: BuildConfig) -> str:
    levels = ", ".join(f"{word} ({value})" for word, value in zip(LEVEL_WORDS, LEVEL_VALUES, strict=True))
    return f"""## Columns

- `id`, `modality` (`image` or `video`), `images` and `videos` (the item, or the two items of a pair, in the list of
  its modality).
- `messages`: for each item a user turn that holds nothing but the item, and the answer.
- `annotators`: one score in [0, 1] each, higher is better, empty where there is no opinion; `annotator_errors` says
  why; `n_opinions` counts.
- `mos`, `std`: mean and population standard deviation of the opinions.
- `level_probs`: PMOD, the probability of each level, best first: {levels}. Its expectation
  is `mos` to within {DEFAULT_MAX_RESIDUAL / LEVEL_SCALE:g}, where `mos` lies within the end levels.
- `preference` (pairs): 1 if the first is better, 0 if the second is, 0.5 for a tie; `preference_prob` is the
  probability from both distributions that the first is better, a tie below {config.pair.tie_probability:g} for either.
- `distortion`: `type`, `family` and `severity` (1 least .. 5) of what was done; empty for originals and for chains of
  two, whose steps are in `provenance.steps`.
- `source`, `license`, `content_id`, `split`, `provenance` (name in the source, its sha256, what the source says)."""


def _labels_section(config: BuildConfig) -> str:
    sizes, annotate = config.distort, config.annotate
    image_names, clip_names = (
        ", ".join(f"`{name}`" for name in names) for names in (annotate.image_annotators, annotate.clip_annotators)
    )
    return f"""## How the labels were made

1. Originals were shrunk to at most {sizes.image_long_side} px (clips to {sizes.clip_long_side} px and
   {sizes.clip_frames} frames). Version 0 is that, as it is.
2. Each got {sizes.variants_per_item} distorted versions: one distortion at two severities, then another, and so on.
   {sizes.chain_share:.0%} got a second one on top.
3. Pictures were scored by {image_names};
   clips by {clip_names}.
   What was scored is the published file; those that compare with an original were given the published version 0.
4. Their scores, calibrated to [0, 1], became a distribution over five levels (PMOD) where at least
   {annotate.min_opinions} gave one.

Pictures are stored without loss. Clips are H.264 at a constant rate factor of {sizes.clip_crf}: all versions of a
clip, version 0 too, carry that slight loss."""


def _sources_section(numbers: dict[str, Any], report: dict[str, Any]) -> str:
    lines = ["## Sources and licences\n", "| source | originals |", "|---|---:|"]
    lines += [f"| {_cell(name)} | {count} |" for name, count in numbers["sources"].items()]
    lines += ["\n| licence | originals |", "|---|---:|"]
    lines += [f"| {_cell(name)} | {count} |" for name, count in numbers["licenses"].items()]
    lines.append("\nEvery row names its licence; keep to it, and to the attribution it asks for.")
    if UNKNOWN_LICENSE in numbers["licenses"]:
        lines.append("\n**The licence of some originals is unknown: find out before you publish this.**")
    reasons = [
        f"| {stage} | {_cell(reason)} | {count} |"
        for stage, part in report["stages"].items()
        for reason, count in sorted(part["dropped"].items())
    ]
    if reasons:
        lines += [
            "\nSkipped, each with its reason in `dropped.jsonl`:\n",
            "| stage | reason | count |",
            "|---|---|---:|",
        ]
        lines += reasons
    return "\n".join(lines)


def _statistics_section(numbers: dict[str, Any], plots: dict[str, str]) -> str:
    head = "| modality | rows | mean of `mos` | its std | mean of `std` | " + " | ".join(LEVEL_WORDS) + " |"
    lines = ["## Statistics\n", head]
    lines.append("|---|---:|---:|---:|---:|" + "---:|" * len(LEVEL_WORDS))
    for modality, part in numbers["scores"].items():
        values = " | ".join(f"{part[name]:.3f}" for name in ("mos_mean", "mos_std", "std_mean"))
        levels = " | ".join(str(part["levels"][word]) for word in LEVEL_WORDS)
        lines.append(f"| {modality} | {part['rows']:,} | {values} | {levels} |")
    if numbers["preferences"]:
        shares = ", ".join(f"{count:,} times {value}" for value, count in sorted(numbers["preferences"].items()))
        lines.append(f"\nPreferences: {shares}.")
    lines += [f"\n{words}\n\n![{Path(name).stem}]({name})" for name, words in plots.items()]
    if numbers["distortions"]:
        lines += ["\n| distortion (severity 1 .. 5) | rows |", "|---|---|"]
        lines += [f"| {name} | {' '.join(map(str, counts))} |" for name, counts in numbers["distortions"].items()]
    lines.append("\nAll numbers are in `statistics.json`.")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
