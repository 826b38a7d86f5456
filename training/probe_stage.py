"""Work of `linear_probe.py`: features once, then the head."""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from accelerate import PartialState
from datasets import Dataset
from tqdm.auto import tqdm

from modeling_vital.levels_vital import expected_score
from modeling_vital.media_vital import MediaError
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.probe_vital import VitalForQualityProbe, VitalProbeConfig, VitalProbeHead, VitalProbeProcessor
from modeling_vital.whole_files import whole_file, write_whole
from modeling_vital.zoo import resolve
from training.collators import RowError
from training.data import LOAD_ERRORS, DataArguments, rows_fingerprint, scoring_rows
from training.freezing import freeze
from training.launching import check_launch, output_folder, start_processes
from training.losses import pmod_kl_loss
from training.recipe import RecipeError, parse_recipe, portable_settings
from training.run import beside, data_at_hand, guarded
from training.trainer import score_correlations


logger = logging.getLogger(__name__)

LOSSES = ("pmod_kl", "cross_entropy")
RESULTS = "results.json"
_CHUNK = 16  # rows whose features are written at once


@dataclass
class ProbeArguments:
    """Settings of a linear probe."""

    model: str = field(
        default="vital-tiny",
        metadata={"help": "VITAL checkpoint whose encoders are probed: a folder, a hub id or a name of the zoo."},
    )
    output_dir: str = field(
        default="runs/linear-probe",
        metadata={"help": "Where the result goes; features go beside it, into output_dir-data."},
    )
    feature_layers: list[int] | None = field(
        default=None,
        metadata={
            "help": "Layers of the image encoder that are read, 0 is the first. By default three, at a quarter, a "
            "half and three quarters of a transformer (6 12 18 of InternViT-300M); all stages of convolutions."
        },
    )
    head_hidden_size: int = field(default=128, metadata={"help": "Width between the two linear layers."})
    loss: str = field(
        default="pmod_kl",
        metadata={"help": "'pmod_kl': KL to the target distribution; 'cross_entropy': to the level, as released."},
    )
    epochs: int = field(default=200, metadata={"help": "Passes over the features; they cost milliseconds."})
    batch_size: int = field(default=64, metadata={"help": "Items a step of the head."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Peak; it falls to 0 along a cosine."})
    weight_decay: float = field(default=0.05, metadata={"help": "Of AdamW."})
    seed: int = field(default=0, metadata={"help": "Decides the head's start, the order and what is held out."})
    feature_batch_size: int = field(default=4, metadata={"help": "Items through the encoders at once."})
    encoder_dtype: str = field(default="float32", metadata={"help": "Dtype of the encoders, e.g. bfloat16."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU although there is one."})

    def __post_init__(self):
        if self.loss not in LOSSES:
            raise ValueError(f"`loss` is one of {', '.join(LOSSES)}, got {self.loss!r}.")
        for name in ("epochs", "batch_size", "feature_batch_size", "head_hidden_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be above 0, got {getattr(self, name)}.")
        if not isinstance(getattr(torch, self.encoder_dtype, None), torch.dtype):
            raise ValueError(f"`encoder_dtype` is the name of a dtype of torch, got {self.encoder_dtype!r}.")


@dataclass
class Features:
    """Encoder features of the rows of a split, and their targets.

    Attributes:
        values (`torch.FloatTensor` of shape `(num_rows, image_feature_size + motion_feature_size)`).
        level_probs (`torch.FloatTensor` of shape `(num_rows, 5)`): target, best level first.
        mos (`torch.FloatTensor` of shape `(num_rows,)`): in [0, 1].
        is_video (`torch.BoolTensor` of shape `(num_rows,)`).
    """

    values: torch.Tensor
    level_probs: torch.Tensor
    mos: torch.Tensor
    is_video: torch.Tensor


def main(description: str, arguments: Sequence[str] | None = None) -> int:
    """Runs the stage from the command line; see [`training.run.main`]."""

    def work() -> None:
        run(*parse_recipe((ProbeArguments, DataArguments), arguments, description))

    return guarded(work)


def run(args: ProbeArguments, data_args: DataArguments) -> VitalForQualityProbe | None:
    """Trains a head and writes the probe, `results.json` and the recipe into `output_dir`.

    Returns:
        `VitalForQualityProbe`: the probe; `None` in a process other than the first.

    Raises:
        RecipeError: model, data or `output_dir` cannot be used.
        RowError: a picture or clip cannot be read.
    """
    check_launch(args.use_cpu)
    state = start_processes(args.use_cpu)
    with output_folder(Path(args.output_dir)):
        return _train(args, data_args, state)


def _train(args: ProbeArguments, data_args: DataArguments, state: PartialState) -> VitalForQualityProbe | None:
    output_dir = Path(args.output_dir)
    asked, data_args = data_args, data_at_hand(data_args, output_dir, args.seed)
    torch.manual_seed(args.seed)
    probe = build_probe(args)
    freeze(probe, "linear_probe")
    tables = {"train": _rows(data_args, data_args.train_split, data_args.max_samples, args.seed)}
    try:
        tables["held_out"] = _rows(data_args, data_args.eval_split, data_args.max_eval_samples, args.seed)
    except RecipeError as error:
        logger.warning("No evaluation in this run. %s", error)
    probe.to(state.device)
    folders = {
        name: beside(output_dir) / "features" / _fingerprint(args, probe, rows) for name, rows in tables.items()
    }
    for name, rows in tables.items():
        compute_features(probe, rows, folders[name], args.feature_batch_size)
    state.wait_for_everyone()
    if not state.is_main_process:
        return None
    probe.to("cpu")
    features = {name: collect_features(rows, folders[name]) for name, rows in tables.items()}
    history = train_head(probe, features["train"], args)
    results = {"loss": history[-1], **{name: evaluate(probe, split) for name, split in features.items()}}
    probe.save_pretrained(output_dir)
    recipe = {name: value for name, value in {**asdict(args), **asdict(asked)}.items() if value is not None}
    write_whole(output_dir / "recipe.yaml", yaml.safe_dump(portable_settings(recipe), sort_keys=False))
    write_whole(output_dir / RESULTS, json.dumps(results, indent=2) + "\n")
    logger.info("Wrote %s: %s", output_dir, json.dumps(results.get("held_out", results["train"])))
    return probe


def build_probe(args: ProbeArguments) -> VitalForQualityProbe:
    """A probe with the encoders of a VITAL checkpoint and a head that knows nothing.

    Layers behind the last that is read are left out. The probe is in evaluation mode and has a processor that prepares
    media as the checkpoint's own does.

    Raises:
        RecipeError: the checkpoint cannot be loaded or probed.
    """
    try:
        model = VitalForConditionalGeneration.from_pretrained(
            resolve(args.model), dtype=getattr(torch, args.encoder_dtype)
        )
        vision = model.config.vision_config
        if hasattr(vision, "qk_norm_eps"):
            raise ValueError(
                f"its encoder's normalisation of queries has epsilon {vision.qk_norm_eps}, a probe's 1e-6"
            )
        vision = type(vision).from_dict(vision.to_dict())
        layers = args.feature_layers or default_layers(vision)
        if not getattr(vision, "hidden_sizes", None) and max(layers) < vision.num_hidden_layers:
            vision.num_hidden_layers = max(layers) + 1
        config = VitalProbeConfig(
            vision,
            model.config.motion_config,
            feature_layers=layers,
            downsample_ratio=model.config.downsample_ratio,
            head_hidden_size=args.head_hidden_size,
            level_words=model.config.level_words,
            level_values=model.config.level_values,
        )
    except (OSError, ValueError) as error:
        raise RecipeError(f"The model {args.model} cannot be probed: {error}") from error
    probe = VitalForQualityProbe(config).to(model.dtype).eval()
    for name in ("vision_tower", "motion_encoder"):
        part = getattr(probe, name)
        state = getattr(model.model, name).state_dict()
        part.load_state_dict({key: state[key] for key in part.state_dict()})
    probe.head.float()
    processor = model.processor
    probe.processor = VitalProbeProcessor(
        processor.image_processor, processor.motion_size, processor.max_tiles_per_frame, processor.frame_sampling
    )
    return probe


def default_layers(vision_config) -> list[int]:
    """See `ProbeArguments.feature_layers`."""
    if stages := getattr(vision_config, "hidden_sizes", None):
        return list(range(len(stages)))
    count = vision_config.num_hidden_layers
    return sorted({count // 4, count // 2, 3 * count // 4})


@torch.no_grad()
def compute_features(probe: VitalForQualityProbe, rows: Dataset, folder: Path, batch_size: int) -> None:
    """Computes the features of this process's share of the rows; what `folder` has already is kept.

    Raises:
        RowError: a picture or clip cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = PartialState()
    chunks = range(math.ceil(len(rows) / _CHUNK))[state.process_index :: state.num_processes]
    missing = [chunk for chunk in chunks if not _chunk_file(folder, chunk).exists()]
    with tqdm(
        total=sum(min(_CHUNK, len(rows) - chunk * _CHUNK) for chunk in missing),
        desc="Features",
        delay=2,
        disable=not state.is_local_main_process,
    ) as progress:
        for chunk in missing:
            values = []
            stop = min((chunk + 1) * _CHUNK, len(rows))
            for start in range(chunk * _CHUNK, stop, batch_size):
                media = [_prepare(probe.processor, rows[i]) for i in range(start, min(start + batch_size, stop))]
                inputs = probe.processor.score_inputs(media, probe.device, probe.dtype)
                values.append(probe(**inputs).features.float().cpu())
                progress.update(len(media))
            with whole_file(_chunk_file(folder, chunk)) as unfinished:
                np.save(unfinished, torch.cat(values).numpy())


def collect_features(rows: Dataset, folder: Path) -> Features:
    """Reads what [`compute_features`] wrote, all processes together, and the targets of the rows."""
    values = [np.load(_chunk_file(folder, chunk)) for chunk in range(math.ceil(len(rows) / _CHUNK))]
    return Features(
        torch.from_numpy(np.concatenate(values)),
        torch.tensor(rows["level_probs"][:], dtype=torch.float32),
        torch.tensor(rows["mos"][:], dtype=torch.float32),
        torch.tensor([modality == "video" for modality in rows["modality"][:]]),
    )


def level_classes(mos: torch.Tensor, levels: int = 5) -> torch.Tensor:
    """Level of each opinion, 0 for the best: the released probe's `mos // 20` of a percentage, counted from the top.

    Args:
        mos (`torch.FloatTensor` of shape `(num_rows,)`): in [0, 1]. A boundary belongs to the better level.

    Returns:
        `torch.LongTensor` of shape `(num_rows,)`.

    Note:
        The released code fails at a percentage of 100; here that is the best level.
    """
    # Rounded first: 0.6 is a hair below three fifths in float32.
    return levels - 1 - (mos.double() * levels).add(1e-6).floor().long().clamp(0, levels - 1)


def head_loss(logits: torch.Tensor, level_probs: torch.Tensor, mos: torch.Tensor, loss: str) -> torch.Tensor:
    """Loss of a head's logits, a mean over rows.

    Args:
        logits (`torch.FloatTensor` of shape `(num_rows, 5)`): best level first.
        level_probs (`torch.FloatTensor` of shape `(num_rows, 5)`): target of `"pmod_kl"`.
        mos (`torch.FloatTensor` of shape `(num_rows,)`): its level is the target of `"cross_entropy"`.
        loss (`str`): one of `LOSSES`.
    """
    if loss == "cross_entropy":
        return F.cross_entropy(logits, level_classes(mos, logits.shape[-1]))
    return pmod_kl_loss(logits, list(range(logits.shape[-1])), level_probs).mean()


def train_head(probe: VitalForQualityProbe, train: Features, args: ProbeArguments) -> list[float]:
    """Fits the head of a probe, in place.

    It learns on standardised features; mean and spread are folded into its first layer afterwards, so that it reads
    the features as they are.

    Returns:
        `list[float]`: mean loss of each epoch.

    Raises:
        RecipeError: the loss is no longer a number.
    """
    generator = torch.Generator().manual_seed(args.seed)
    mean = train.values.mean(0)
    scale = train.values.std(0, unbiased=False)
    scale[scale <= 1e-6 * scale.max()] = torch.inf  # what never changes says nothing
    values = (train.values - mean) / scale
    head = VitalProbeHead(values.shape[1], args.head_hidden_size, len(probe.config.level_words))
    steps = math.ceil(len(values) / args.batch_size)
    optimizer = torch.optim.AdamW(head.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * steps)
    history = []
    for _ in tqdm(range(args.epochs), desc="Head", delay=2):
        total = 0.0
        for chosen in torch.randperm(len(values), generator=generator).split(args.batch_size):
            loss = head_loss(head(values[chosen]), train.level_probs[chosen], train.mos[chosen], args.loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        history.append(total / len(values))
        if not math.isfinite(history[-1]):
            raise RecipeError(f"The loss became {history[-1]} in epoch {len(history)}: lower `learning_rate`.")
    with torch.no_grad():
        first = head.linear_1
        first.weight /= scale
        first.bias -= first.weight @ mean
    probe.head.load_state_dict(head.state_dict())
    return history


@torch.no_grad()
def evaluate(probe: VitalForQualityProbe, rows: Features) -> dict[str, float]:
    """SRCC and PLCC of the scores of rows, and how many there are; see [`training.trainer.correlations`]."""
    scores = expected_score(probe.head(rows.values).double().softmax(-1), probe.config.level_values)
    return {"rows": len(scores), **score_correlations(scores.numpy(), rows.mos.numpy(), rows.is_video.numpy())}


def _rows(data_args: DataArguments, split: str, limit: int | None, seed: int) -> Dataset:
    try:
        rows = scoring_rows(data_args, split, limit, seed)
    except RowError:
        raise
    except LOAD_ERRORS as error:
        raise RecipeError(str(error)) from error
    if len(rows) == 0:
        raise RecipeError(f"The split {split!r} of {data_args.dataset} has no scoring row.")
    return rows


def _prepare(processor: VitalProbeProcessor, row: dict):
    (source,) = [*row["images"], *row["videos"]]
    try:
        return processor.prepare(source["bytes"] or source["path"])
    except MediaError as error:
        raise RowError(f"row {row['id']!r}: {error}") from error


def _chunk_file(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:06d}.npy"


def _fingerprint(args: ProbeArguments, probe: VitalForQualityProbe, rows: Dataset) -> str:
    """Changes with all that the features depend on: encoders, preparation, rows."""
    settings = (probe.processor.to_json_string(), probe.config.feature_layers, probe.config.downsample_ratio)
    digest = hashlib.sha256(f"{settings} {args.encoder_dtype} {rows_fingerprint(rows)} {_CHUNK}".encode())
    for part in (probe.vision_tower, probe.motion_encoder):
        for name, values in part.state_dict().items():
            digest.update(name.encode())
            digest.update(values.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
