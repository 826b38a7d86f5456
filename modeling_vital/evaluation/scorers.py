"""Scorers that are measured: VITAL models, and peers given by an importable name. Both say what they are."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..calibration_vital import folder_sha256
from ..media_vital import MediaError, load_media
from ..video_backend_vital import video_backend


PEER_FRAMES = 32
"""Frames of a clip that a peer is given, evenly spread."""

SCORING_FILES = ("*.safetensors", "config.json", "processor_config.json", "tokenizer.json")
"""Files of a checkpoint that its scores depend on."""


class Scorer(Protocol):
    """Anything that can be measured.

    Attributes:
        name (`str`): names its column.
        higher_is_better (`bool`): direction of its scores.
        score_range (`tuple[float, float]`, *optional*): ends of their scale, where it has any.
    """

    name: str
    higher_is_better: bool
    score_range: tuple[float, float] | None

    def describe(self) -> dict[str, Any]:
        """Describes all that a score depends on, ready for JSON; the same description, the same scores."""

    def score(self, media: Sequence[Any]) -> list[tuple[float, float | None] | str]:
        """Score and standard deviation (`None` without one) of each item, or why it could not be scored."""


class VitalScorer:
    """A VITAL model or linear probe, through `model.score`, the path that users take.

    Args:
        name (`str`): as given by the user.
        source (`str`): folder or Hub id it was loaded from.
        model (`VitalForConditionalGeneration` or `VitalForQualityProbe`): ready to score.
        batch_size (`int`): items a forward pass.
    """

    higher_is_better = True
    score_range: tuple[float, float] | None = (0.0, 1.0)

    def __init__(self, name: str, source: str, model: Any, batch_size: int) -> None:
        self.name, self.source, self.model, self.batch_size = name, source, model, batch_size

    def describe(self) -> dict[str, Any]:
        """Revision or file hashes, what is seen of a picture or clip and by which decoder, precision, level values."""
        processor = self.model.processor
        folder = Path(self.source)
        return {
            "name": self.name,
            "kind": self.model.config.model_type,
            "revision": getattr(self.model.config, "_commit_hash", None),
            "sha256": folder_sha256(folder, SCORING_FILES) if folder.is_dir() else None,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "frame_policy": processor.frame_sampling,
            "video_backend": video_backend(),
            "image_processor": processor.image_processor.to_dict(),
            "level_values": list(self.model.config.level_values),
            "answer_prefixes": getattr(processor, "answer_prefixes", None),
        }

    def score(self, media: Sequence[Any]) -> list[tuple[float, float | None] | str]:
        """See [`Scorer`]."""
        results = self.model.score(list(media), batch_size=self.batch_size, errors="return")
        return [str(r) if isinstance(r, MediaError) else _checked(r.score, r.std) for r in results]


class PeerScorer:
    """Another metric: an object with `name`, `modality`, `higher_is_better`, `raw_range` and `score(pixels)`.

    `pixels` is RGB uint8, `[H, W, 3]` or, for the modality `"video"`, `[T, H, W, 3]`, at most `PEER_FRAMES` frames
    evenly spread. The annotators of this project's `dataset_scripts` are such objects.

    Args:
        name (`str`): `package.module:Class`, importable from the current folder too; made without arguments.

    Raises:
        ValueError: if there is no such class, or it cannot be made, lacks what a peer needs, or needs an
            original to compare with.
    """

    def __init__(self, name: str) -> None:
        module, _, attribute = name.partition(":")
        if not module or not attribute:
            raise ValueError(f"a peer is given as package.module:Class, got {name!r}")
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            self.peer = getattr(import_module(module), attribute)()
        except (ImportError, AttributeError, TypeError) as error:
            raise ValueError(f"the peer {name!r} cannot be made: {error}") from error
        lacks = [
            a for a in ("name", "modality", "higher_is_better", "raw_range", "score") if not hasattr(self.peer, a)
        ]
        if lacks:
            raise ValueError(f"the peer {name!r} has no {', '.join(lacks)}; see PeerScorer for what it needs")
        if getattr(self.peer, "needs_reference", False):
            raise ValueError(f"the peer {name!r} compares with an original, which benchmarks of opinions do not give")
        self.import_name, self.name = name, self.peer.name
        self.higher_is_better = self.peer.higher_is_better
        low, high = self.peer.raw_range
        self.score_range = (low, high) if np.isfinite([low, high]).all() else None

    def describe(self) -> dict[str, Any]:
        """Its import name and version, and what it is shown."""
        return {
            "name": self.name,
            "kind": "peer",
            "revision": getattr(self.peer, "version", None),
            "sha256": None,
            "import_name": self.import_name,
            "frame_policy": {"max_frames": PEER_FRAMES} if self.peer.modality == "video" else None,
            "video_backend": video_backend(),
        }

    def score(self, media: Sequence[Any]) -> list[tuple[float, float | None] | str]:
        """See [`Scorer`]."""
        return [self._score(item) for item in media]

    def _score(self, item: Any) -> tuple[float, float | None] | str:
        try:
            return _checked(float(self.peer.score(self._pixels(item))), None)
        except (MediaError, ValueError, ArithmeticError, RuntimeError) as error:
            return str(error)

    def _pixels(self, item: Any) -> np.ndarray:
        media = load_media(item)
        if isinstance(media, Image.Image) != (self.peer.modality == "image"):
            raise ValueError(f"the peer {self.name!r} is for the modality {self.peer.modality!r} only")
        if isinstance(media, Image.Image):
            return np.asarray(media)
        count = min(PEER_FRAMES, media.num_frames)
        return media.get_frames(np.linspace(0, media.num_frames - 1, count).round().astype(int))


def _checked(score: float, std: float | None) -> tuple[float, float | None] | str:
    return (score, std) if np.isfinite(score) else f"the score is {score}, not a number"
