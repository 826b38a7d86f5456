"""Settings of a build: one dataclass a concern, read from a recipe. Unknown keys are errors."""

import dataclasses
import importlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from dataset_scripts.annotators import ANNOTATORS
from dataset_scripts.annotators.human_scale import get_calibration
from dataset_scripts.distortions import IMAGE_DISTORTIONS, VIDEO_DISTORTIONS, get_distortion
from dataset_scripts.pmod import DEFAULT_MIN_OPINIONS
from dataset_scripts.rows import TIE_PROBABILITY


SPLITS = ("train", "validation", "test")


class BuildError(Exception):
    """A build that cannot continue. The message says what is wrong and what to do."""


class SettingsError(BuildError):
    """A build that cannot begin, for what was asked: the settings, the output folder, a source that is not there."""


@dataclass
class CollectConfig:
    """Choice of the originals.

    Attributes:
        items_per_source (`int`, *optional*): at most so many of each source; all by default.
        items_per_shard (`int`): originals that are worked on together; what a kill can cost. Changes no row.
        hash_distance (`int`): two originals whose 64-bit perceptual hashes differ in at most so many bits are copies.
        test_share (`float`): share of originals in `test`, by a hash of `content_id`.
        validation_share (`float`): likewise in `validation`. The rest is `train`.
    """

    items_per_source: int | None = None
    items_per_shard: int = 16
    hash_distance: int = 3
    test_share: float = 0.2
    validation_share: float = 0.05

    def __post_init__(self) -> None:
        _require(self.items_per_source is None or self.items_per_source >= 1, "items_per_source must be at least 1")
        _require(self.items_per_shard >= 1, "items_per_shard must be at least 1")
        _require(0 <= self.hash_distance <= 15, "hash_distance must be from 0 to 15 bits of 64")
        shares = (self.test_share, self.validation_share)
        _require(min(shares) >= 0 and sum(shares) <= 1, "test_share and validation_share must be >= 0, sum at most 1")


@dataclass
class DistortConfig:
    """Versions that are made of an original.

    Attributes:
        image_long_side (`int`): pictures are shrunk to at most so many pixels, which also removes old damage.
        clip_long_side (`int`): likewise frames of clips.
        least_side (`int`): originals whose short side is below so many pixels after shrinking are skipped.
        clip_frames (`int`): frames kept of a clip, from its middle.
        least_clip_frames (`int`): clips with fewer frames are skipped.
        clip_crf (`int`): constant rate factor of H.264 at which clips are stored; 0 is lossless but large.
        variants_per_item (`int`): distorted versions of each original. They come in twos: one distortion at two
            severities.
        chain_share (`float`): share of the versions that get a second distortion on top.
        image_distortions (`list[str]`): those used on pictures, and on clips by `frame_share`; empty means all.
        clip_distortions (`list[str]`): those used on clips; empty means all that only clips can have.
        frame_share (`float`): share of the pairs of versions of a clip that use an image distortion.
    """

    image_long_side: int = 512
    clip_long_side: int = 384
    least_side: int = 96
    clip_frames: int = 48
    least_clip_frames: int = 16
    clip_crf: int = 12
    variants_per_item: int = 6
    chain_share: float = 0.1
    image_distortions: list[str] = field(default_factory=list)
    clip_distortions: list[str] = field(default_factory=list)
    frame_share: float = 0.3

    def __post_init__(self) -> None:
        _require(self.variants_per_item >= 0, "variants_per_item must not be negative")
        _require(0 <= self.chain_share <= 1 and 0 <= self.frame_share <= 1, "shares must be from 0 to 1")
        _require(self.least_side >= 64, "least_side must be at least 64: annotators need that much")
        _require(self.least_clip_frames >= 3, "least_clip_frames must be at least 3: annotators need that many")
        _require(0 <= self.clip_crf <= 51, "clip_crf must be from 0 to 51")
        for key, modality, known in (
            ("image_distortions", "image", IMAGE_DISTORTIONS),
            ("clip_distortions", "video", VIDEO_DISTORTIONS),
        ):
            names = getattr(self, key)
            for name in names:
                try:
                    found = get_distortion(name).modality
                except ValueError as error:
                    raise SettingsError(f"{key}: {error}") from error
                _require(found == modality, f"{key}: {name!r} is for {found}s, choose from {', '.join(known)}")
            setattr(self, key, list(names or known))


@dataclass
class AnnotateConfig:
    """Whose opinions make the scores.

    Attributes:
        image_annotators (`list[str]`): annotators of pictures. Those that need the original have it.
        clip_annotators (`list[str]`): annotators of clips.
        weights (`dict[str, float]`): how much an annotator counts, against 1 for those not named.
        min_opinions (`int`): an item with fewer opinions gets no score, and the reason is written down.
    """

    image_annotators: list[str] = field(default_factory=lambda: ["gmsd", "mdsi", "haarpsi", "detail", "exposure"])
    clip_annotators: list[str] = field(
        default_factory=lambda: ["frame_gmsd", "frame_mdsi", "frame_haarpsi", "temporal_gradient", "frame_detail"]
    )
    weights: dict[str, float] = field(default_factory=dict)
    min_opinions: int = DEFAULT_MIN_OPINIONS

    def __post_init__(self) -> None:
        _require(self.min_opinions >= 1, "min_opinions must be at least 1")
        for name, weight in self.weights.items():
            named = name in {*self.image_annotators, *self.clip_annotators}
            _require(named, f"weights: {name!r} is not among the annotators of this recipe")
            _require(0 < weight < float("inf"), f"weights: {name!r} needs a number above 0, got {weight!r}")
        for key, modality in (("image_annotators", "image"), ("clip_annotators", "video")):
            names = getattr(self, key)
            for name in names:
                _require(name in ANNOTATORS, f"{key}: unknown annotator {name!r}; known are {', '.join(ANNOTATORS)}")
                found = ANNOTATORS[name].modality
                _require(found == modality, f"{key}: {name!r} scores a {found}")
                try:
                    get_calibration(name)
                except ValueError as error:
                    raise SettingsError(f"{key}: {error}") from error
            _require(len(names) == len(set(names)), f"{key} names an annotator twice")
            _require(
                len(names) >= self.min_opinions,
                f"{key} has {len(names)} annotators, min_opinions asks for {self.min_opinions}: no item could pass",
            )

    @property
    def names(self) -> list[str]:
        """All annotators, in order, without repeats: the fields of the column `annotators`."""
        return list(dict.fromkeys(self.image_annotators + self.clip_annotators))


@dataclass
class InterpretConfig:
    """Interpreter that writes descriptions. Without one there are none.

    Attributes:
        interpreter (`str`, *optional*): `module:name` of a function that, called with `options`, gives what
            `dataset_scripts.interpretation:chat_interpreter` does: a function of the id and the pixels of a version
            that returns an `Interpretation`.
        options (`dict`): its arguments.
        threads (`int`): items it is asked about at a time, in each worker. Changes no row.
    """

    interpreter: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    threads: int = 1

    def __post_init__(self) -> None:
        _require(self.threads >= 1, "threads must be at least 1")
        if self.interpreter is not None:
            self.factory()

    def factory(self) -> Callable[..., Any]:
        """The function that makes the interpreter.

        Raises:
            SettingsError: there is none of this name.
        """
        module, _, name = str(self.interpreter).partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise SettingsError(
                f"interpreter {self.interpreter!r} is not a module:name to import ({error})"
            ) from error


@dataclass
class PairConfig:
    """Pairs of versions of one original that are compared.

    Attributes:
        pairs_per_item (`int`): at most so many pairs of versions of an original.
        tie_probability (`float`): one version is preferred where its probability of being better is at least this
            much; else the pair is a tie.
    """

    pairs_per_item: int = 3
    tie_probability: float = TIE_PROBABILITY

    def __post_init__(self) -> None:
        _require(self.pairs_per_item >= 0, "pairs_per_item must not be negative")
        _require(0.5 < self.tie_probability < 1, "tie_probability must be between 0.5 and 1")


@dataclass
class PublishConfig:
    """Layout and name of the data set.

    Attributes:
        title (`str`): heading of the card.
        max_shard_size (`str`): of a Parquet file, such as `300MB`.
    """

    title: str = "vital-pairs"
    max_shard_size: str = "300MB"


@dataclass
class BuildConfig:
    """Everything that decides the rows of a data set.

    Attributes:
        sources (`list[dict]`): each with `kind`, a key of `dataset_scripts.sources.SOURCES`, and its options.
        seed (`int`): with `content_id` and the number of a version it decides everything about a row.
    """

    sources: list[dict[str, Any]]
    seed: int = 0
    collect: CollectConfig = field(default_factory=CollectConfig)
    distort: DistortConfig = field(default_factory=DistortConfig)
    annotate: AnnotateConfig = field(default_factory=AnnotateConfig)
    interpret: InterpretConfig = field(default_factory=InterpretConfig)
    pair: PairConfig = field(default_factory=PairConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)

    def __post_init__(self) -> None:
        _require(bool(self.sources), "no source is named")
        _require(self.seed >= 0, "seed must not be negative")

    @classmethod
    def from_dict(cls, recipe: dict[str, Any], where: str = "recipe") -> "BuildConfig":
        """Builds the config from nested mappings.

        Raises:
            SettingsError: a key is unknown or missing, or a value is out of range; names it.
        """
        parts = {f.name: f.default_factory for f in dataclasses.fields(cls) if dataclasses.is_dataclass(f.type)}
        _check_type(recipe, dict, where)
        _check_keys(recipe, [f.name for f in dataclasses.fields(cls)], where)
        for name, kind in (("seed", int), ("sources", list)):
            _check_type(recipe.get(name, _ABSENT), kind, f"{where}: {name}")
        if not recipe.get("sources"):
            raise SettingsError(f"{where} names no source: give --source and --input, or `sources` in the recipe")
        values = dict(recipe)
        for name, part in parts.items():
            given = values.get(name) or {}
            _check_type(given, dict, f"{where}: {name}")
            _check_keys(given, [f.name for f in dataclasses.fields(part)], f"{where}: {name}")
            for f in dataclasses.fields(part):
                _check_type(given.get(f.name, _ABSENT), f.type, f"{where}: {name}: {f.name}")
            try:
                values[name] = part(**given)
            except SettingsError as error:
                raise SettingsError(f"{where}: {name}: {error}") from error
        for number, source in enumerate(values["sources"], start=1):
            _check_type(source, dict, f"{where}: source {number}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values; [`from_dict`] takes them back."""
        return asdict(self)


def load_recipe(path: str | Path) -> dict[str, Any]:
    """Reads a recipe.

    Raises:
        SettingsError: the file is missing, not YAML, or no mapping of settings.
    """
    import yaml

    from modeling_vital.yaml_file import read_yaml

    try:
        recipe = read_yaml(path) or {}
    except OSError as error:
        raise SettingsError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"recipe {path} is not YAML: {error}") from error
    _check_type(recipe, dict, f"recipe {path}")
    return recipe


def _check_keys(given: dict[str, Any], known: Iterable[str], where: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise SettingsError(f"{where} has no setting {', '.join(map(repr, unknown))}; it has {', '.join(known)}")


_ABSENT = object()


def _check_type(value: Any, kind: Any, where: str) -> None:
    """Raises unless a value of a recipe is of a field's type; whole numbers are real ones too."""
    options = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    allowed = tuple((int, float) if option is float else get_origin(option) or option for option in options)
    if value is not _ABSENT and (isinstance(value, bool) or not isinstance(value, allowed)):
        names = " or ".join(getattr(option, "__name__", str(option)) for option in options)
        raise SettingsError(f"{where} must be {names.replace('NoneType', 'nothing')}, is {value!r}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)
