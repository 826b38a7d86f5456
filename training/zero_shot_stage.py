"""Work of `zero_shot.py`: assemble, save, evaluate."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from tqdm.auto import tqdm

from modeling_vital.media_vital import MediaError
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.whole_files import write_whole
from modeling_vital.zoo import resolve
from training.collators import RowError
from training.data import LOAD_ERRORS, DataArguments, scoring_rows
from training.launching import check_launch, output_folder, start_processes
from training.recipe import RecipeError, parse_recipe
from training.run import data_at_hand, guarded
from training.trainer import score_correlations


logger = logging.getLogger(__name__)

RESULTS = "results.json"


@dataclass
class ZeroShotArguments:
    """Parts that are put together, and their evaluation."""

    vision: str | None = field(default=None, metadata={"help": "VITAL checkpoint whose encoders are taken."})
    decoder: str | None = field(
        default=None,
        metadata={"help": "Checkpoint whose decoder reads: VITAL or InternVL, with projectors of their own."},
    )
    output_dir: str = field(default="runs/zero-shot", metadata={"help": "Where model and numbers go."})
    dtype: str = field(default="float32", metadata={"help": "Dtype of the model, e.g. bfloat16."})
    batch_size: int = field(default=8, metadata={"help": "Items scored at once."})
    seed: int = field(default=0, metadata={"help": "Chooses the rows if there are more than max_eval_samples."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU although there is one."})

    def __post_init__(self):
        if self.vision is None or self.decoder is None:
            raise ValueError("Give `vision` and `decoder`, the checkpoints to put together.")
        if self.batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {self.batch_size}.")
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ValueError(f"`dtype` is the name of a dtype of torch, got {self.dtype!r}.")


def main(description: str, arguments: Sequence[str] | None = None) -> int:
    """Runs the stage from the command line; see [`training.run.main`]."""

    def work() -> None:
        run(*parse_recipe((ZeroShotArguments, DataArguments), arguments, description))

    return guarded(work)


def run(args: ZeroShotArguments, data_args: DataArguments) -> VitalForConditionalGeneration:
    """Assembles and evaluates; leaves the model and `results.json` in `output_dir`.

    Raises:
        RecipeError: the parts do not match, there is nothing to evaluate on, or `output_dir` cannot be used.
        RowError: a picture or clip cannot be read.
    """
    check_launch(args.use_cpu)
    state = start_processes(args.use_cpu)
    if state.num_processes > 1:
        raise RecipeError("Zero-shot transfer runs in one process: start it with `python`.")
    with output_folder(Path(args.output_dir)):
        return _assemble(args, data_args, state)


def _assemble(args: ZeroShotArguments, data_args: DataArguments, state: PartialState) -> VitalForConditionalGeneration:
    output_dir = Path(args.output_dir)
    asked, data_args = data_args, data_at_hand(data_args, output_dir, args.seed)
    torch.manual_seed(args.seed)
    try:
        rows = scoring_rows(data_args, data_args.eval_split, data_args.max_eval_samples, args.seed)
        model = VitalForConditionalGeneration.from_parts(
            resolve(args.vision), resolve(args.decoder), dtype=getattr(torch, args.dtype)
        )
    except LOAD_ERRORS as error:
        raise RecipeError(str(error)) from error
    model.to(state.device)
    measured = evaluate(model, rows, args.batch_size)
    model.to("cpu").save_pretrained(output_dir)
    results = {**asdict(args), "dataset": asked.dataset, "split": data_args.eval_split, **measured}
    write_whole(output_dir / RESULTS, json.dumps(results, indent=2) + "\n")
    logger.info("Wrote %s: %s", output_dir, json.dumps(measured))
    return model


def evaluate(model, rows: Dataset, batch_size: int) -> dict[str, float]:
    """SRCC and PLCC of a model's scores with the opinions of scoring rows, and how many rows there are.

    Args:
        model (`VitalForConditionalGeneration` or `VitalForQualityProbe`): in evaluation mode.
        rows (`Dataset`): scoring rows, media undecoded.
        batch_size (`int`): items scored at once.

    Raises:
        RowError: a picture or clip cannot be read.
    """
    scores = []
    for start in tqdm(range(0, len(rows), batch_size), desc="Scoring", delay=2):
        batch = [rows[i] for i in range(start, min(start + batch_size, len(rows)))]
        sources = [(row["images"] or row["videos"])[0] for row in batch]
        found = model.score([s["bytes"] or s["path"] for s in sources], batch_size=batch_size, errors="return")
        for row, score in zip(batch, found, strict=True):
            if isinstance(score, MediaError):
                raise RowError(f"row {row['id']!r}: {score}") from score
            scores.append(score.score)
    is_video = np.array(rows["modality"][:]) == "video"
    return {"rows": len(rows), **score_correlations(np.array(scores), np.array(rows["mos"][:]), is_video)}
