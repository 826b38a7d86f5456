"""Draft of a model card, and a picture of a run's curves."""

from pathlib import Path
from typing import Any

import torch
import transformers
import trl
import yaml
from huggingface_hub import ModelCardData

from modeling_vital.whole_files import whole_file


CURVES = "curves.png"
_METRICS = ("srcc", "plcc")


def draw_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Draws the losses and, where there was an evaluation, the correlations over the steps.

    Args:
        history (`list[dict]`): `trainer.state.log_history`.
        path (`Path`): PNG file to write.
    """
    from matplotlib.figure import Figure  # not pyplot: no window system is asked for

    parts = dict.fromkeys(key for entry in history for key in entry if key.startswith("loss_"))
    panels = [{"loss": "loss", "eval_loss": "held out"}, {key: key.removeprefix("loss_") for key in parts}]
    if any("eval_srcc" in entry for entry in history):
        panels.append({f"eval_{name}": name.upper() for name in _METRICS})
    sheet = Figure(figsize=(4.6 * len(panels), 3.4), dpi=110, layout="constrained")
    for place, panel in enumerate(panels, start=1):
        axes = sheet.add_subplot(1, len(panels), place)
        for key, label in panel.items():
            points = [(entry["step"], entry[key]) for entry in history if key in entry]
            if points:
                axes.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else None, label=label)
        axes.set_xlabel("step")
        axes.set_title(("loss", "parts of the loss, unweighted", "held-out correlation")[place - 1], fontsize=10)
        if axes.lines:
            axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    with whole_file(path) as unfinished:
        sheet.savefig(unfinished, metadata={"Software": None})


def draft_card(trainer, recipe: dict[str, Any]) -> str:
    """The draft of a model card, every number from the run.

    Args:
        trainer (`VitalTrainer`): after training.
        recipe (`dict`): the resolved recipe.

    Returns:
        `str`: Markdown with a YAML head that the hub reads.
    """
    state, args = trainer.state, trainer.args
    evaluations = [entry for entry in state.log_history if "eval_srcc" in entry]
    final = max(evaluations, key=lambda entry: entry["eval_srcc"], default=None)
    if not args.load_best_model_at_end:
        final = evaluations[-1] if evaluations else None
    head = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=["vital", "image-quality-assessment", "video-quality-assessment"],
        base_model=recipe["model"],
        datasets=[recipe["dataset"]] if recipe.get("dataset") else None,
    )
    learning = [(name, p.numel()) for name, p in trainer.model.named_parameters() if p.requires_grad]
    batch = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
    ratios, total = trainer.data.ratios, sum(trainer.data.ratios.values())
    tables = "\n".join(
        f"| {name} | {size:,} | {ratios[name] / total:.0%} |" for name, size in trainer.data.sizes.items()
    )
    name = Path(args.output_dir).name
    return f"""---
{head.to_yaml()}
---

# {name}

*Draft, written by the training run. Say what it is for and what it must not be used for before you publish it.*

Scores the quality of pictures and clips:

```python
from transformers import AutoModel

model = AutoModel.from_pretrained("{name}", trust_remote_code=True)
photo, clip = model.score(["photo.jpg", "clip.mp4"])
```

## Training

Stage `{args.stage}` from `{recipe["model"]}`: {sum(n for _, n in learning):,} of \
{trainer.model.num_parameters():,} parameters learned, in {state.global_step:,} steps of {batch} \
items.

| configuration | rows | share of the items |
|---|---|---|
{tables}

![Curves of the run]({CURVES})

## Results on the held-out split

{_results(final)}

## Settings

With `transformers` {transformers.__version__}, `trl` {trl.__version__}, `torch` {torch.__version__}.

```yaml
{yaml.safe_dump(recipe, sort_keys=False)}```
"""


def _results(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "Not evaluated."
    lines = ["| | SRCC | PLCC |", "|---|---|---|"]
    for words, suffix in (("all", ""), ("images", "_image"), ("videos", "_video")):
        if f"eval_srcc{suffix}" in entry:
            lines.append(f"| {words} | {entry[f'eval_srcc{suffix}']:.3f} | {entry[f'eval_plcc{suffix}']:.3f} |")
    return "\n".join([*lines, "", f"After step {entry['step']:,}; against the opinions the data set states."])
