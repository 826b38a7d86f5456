"""A linear probe as ONNX: two graphs that score pictures and clips without torch, and the settings to feed them.

`probe.onnx` takes tiles and motion features to scores, `motion.onnx` a clip's motion frames to its motion feature.
Cutting pictures into tiles stays in the processor; the JSON file beside the graphs says what it does.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim

from ..extras import require
from ..levels_vital import expected_score, score_std
from ..messages import progress_bar
from ..probe_vital import VitalForQualityProbe, VitalProbeConfig, VitalProbeProcessor
from .folders import ExportError, checkpoint_folder, new_folder, read_config, write_json


PROBE_GRAPH = "probe.onnx"
MOTION_GRAPH = "motion.onnx"
SETTINGS_FILE = "vital_onnx.json"
MAX_DIFFERENCE = 1e-5
"""Largest difference allowed between the graphs' scores or motion features and torch's, on the export's own check."""

PROBE_INPUTS = ("pixel_values", "tile_item", "motion_features")
PROBE_OUTPUTS = ("level_probs", "score", "std")
MOTION_INPUTS = ("motion_values",)
MOTION_OUTPUTS = ("motion_features",)


class ProbeGraph(nn.Module):
    """Tiles of a batch of items, and the items' motion features, to scores.

    The tiles of an item are found by `tile_item`, so that a batch may mix items of any numbers of tiles.
    """

    def __init__(self, probe: VitalForQualityProbe):
        super().__init__()
        self.probe = probe

    def forward(
        self, pixel_values: torch.Tensor, tile_item: torch.Tensor, motion_features: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(tiles, 3, tile_size, tile_size)`): normalised tiles.
            tile_item (`torch.LongTensor` of shape `(tiles,)`): the item of each tile, counted from 0.
            motion_features (`torch.FloatTensor` of shape `(items, motion_feature_size)`): zeros for a picture.

        Returns:
            Level probabilities `(items, 5)` best first, scores `(items,)` and their stds `(items,)`.
        """
        tile_features = self.probe.pool_tiles(pixel_values)
        items = motion_features.shape[0]
        sums = tile_features.new_zeros(items, tile_features.shape[1]).index_add(0, tile_item, tile_features)
        counts = tile_features.new_zeros(items).index_add(0, tile_item, torch.ones_like(tile_features[:, 0]))
        features = torch.cat([sums / counts.unsqueeze(-1), motion_features], dim=-1)
        level_probs = self.probe.head(features).softmax(dim=-1)
        values = self.probe.config.level_values
        return level_probs, expected_score(level_probs, values), score_std(level_probs, values)


class MotionGraph(nn.Module):
    """The motion windows of one clip to its motion feature."""

    def __init__(self, probe: VitalForQualityProbe):
        super().__init__()
        self.motion_encoder = probe.motion_encoder

    def forward(self, motion_values: torch.Tensor) -> torch.Tensor:
        """`(windows, frames, 3, motion_size, motion_size)` to `(1, motion_feature_size)`."""
        return self.motion_encoder(motion_values).mean(dim=(0, 1)).unsqueeze(0)


def export_onnx(source: str, destination: str | Path) -> None:
    """Writes a folder with the two graphs, their settings and the processor's configuration.

    Both graphs are float32, take any number of tiles, items, windows and frames, and are run once and compared with
    torch before the folder takes its name.

    Args:
        source (`str`): folder of a linear probe, or its Hub id.
        destination (`str` or `Path`): the new folder.

    Raises:
        ExportError: if the checkpoint is no linear probe, the extra `onnx` is not installed, the graphs' results
            differ from torch's, or the destination exists.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        require(package, "onnx", ExportError)
    destination = Path(destination)
    with new_folder(destination) as partial:
        folder = checkpoint_folder(source)
        model_type = read_config(folder).get("model_type")
        if model_type != VitalProbeConfig.model_type:
            raise ExportError(
                f"{folder} is a {model_type!r}, and only linear probes ({VitalProbeConfig.model_type!r}) become ONNX: "
                "a model with a decoder is served by an engine, see `--layout internvl`."
            )
        try:
            probe = VitalForQualityProbe.from_pretrained(folder, dtype=torch.float32).eval()
            processor = VitalProbeProcessor.from_pretrained(folder)
        except (OSError, ValueError, TypeError) as error:
            raise ExportError(f"The linear probe in {folder} cannot be loaded: {error}") from error
        with torch.no_grad():
            for export in progress_bar((_export_motion, _export_probe), unit="graph"):
                export(probe, processor, partial)
        write_json(partial / SETTINGS_FILE, onnx_settings(probe.config, processor))
        processor.to_json_file(partial / "processor_config.json")


def onnx_settings(config: VitalProbeConfig, processor: VitalProbeProcessor) -> dict[str, Any]:
    """Settings that a program without this package needs to feed the graphs and read their results.

    Args:
        config (`VitalProbeConfig`): of the probe.
        processor (`VitalProbeProcessor`): of the probe.
    """
    pictures = processor.image_processor
    tile = ["tiles", 3, pictures.tile_size, pictures.tile_size]
    frame = ["windows", "frames", 3, processor.motion_size, processor.motion_size]
    width = config.motion_config.hidden_size
    return {
        "graphs": {
            PROBE_GRAPH: {
                "inputs": dict(zip(PROBE_INPUTS, (tile, ["tiles"], ["items", width]), strict=True)),
                "outputs": dict(
                    zip(PROBE_OUTPUTS, (["items", len(config.level_words)], ["items"], ["items"]), strict=True)
                ),
            },
            MOTION_GRAPH: {
                "inputs": dict(zip(MOTION_INPUTS, (frame,), strict=True)),
                "outputs": dict(zip(MOTION_OUTPUTS, ([1, width],), strict=True)),
            },
        },
        "level_words": config.level_words,
        "level_values": config.level_values,
        "tiles": {name: getattr(pictures, name) for name in pictures.valid_kwargs.__annotations__},
        "max_tiles_per_frame": processor.max_tiles_per_frame,
        "motion_size": processor.motion_size,
        "frame_sampling": processor.frame_sampling,
    }


def _export_probe(probe: VitalForQualityProbe, processor: VitalProbeProcessor, partial: Path) -> None:
    side, width = processor.image_processor.tile_size, probe.config.motion_config.hidden_size
    tiles, items = Dim("tiles"), Dim("items")
    # Example sizes differ from each other and from 1, which the exporter would take for constants.
    inputs = (torch.randn(5, 3, side, side), torch.tensor([0, 0, 0, 1, 1]), torch.randn(2, width))
    axes = ({0: tiles}, {0: tiles}, {0: items})
    _write_graph(ProbeGraph(probe), inputs, axes, PROBE_INPUTS, PROBE_OUTPUTS, partial / PROBE_GRAPH)


def _export_motion(probe: VitalForQualityProbe, processor: VitalProbeProcessor, partial: Path) -> None:
    inputs = (torch.randn(2, 5, 3, processor.motion_size, processor.motion_size),)
    axes = ({0: Dim("windows"), 1: Dim("frames")},)
    _write_graph(MotionGraph(probe), inputs, axes, MOTION_INPUTS, MOTION_OUTPUTS, partial / MOTION_GRAPH)


def _write_graph(
    module: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    axes: tuple[dict[int, Dim], ...],
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    path: Path,
) -> None:
    with _quiet_exporter():
        torch.onnx.export(
            module.eval(),
            inputs,
            path,
            input_names=input_names,
            output_names=output_names,
            dynamic_shapes=axes,
            dynamo=True,
            verbose=False,
        )
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    results = session.run(output_names, {n: x.numpy() for n, x in zip(input_names, inputs, strict=True)})
    expected = module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for name, ours, theirs in zip(output_names, expected, results, strict=True):
        difference = float(np.abs(ours.numpy() - theirs).max())
        if not difference <= MAX_DIFFERENCE * max(1.0, float(ours.abs().max())):
            raise ExportError(f"{path.name}: its {name} differ by {difference:.2g} from what torch computes.")


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter without what it tells its own developers: prints, deprecations, that torchvision is missing."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnx_ir", "onnxscript")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
