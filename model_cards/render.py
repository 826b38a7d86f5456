"""From numbers to cards: one template, and data a checkpoint."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from modeling_vital import zoo
from modeling_vital.calibration_vital import Calibration, find_calibration, folder_sha256
from modeling_vital.conventions_vital import SCORING_CONVENTIONS
from modeling_vital.levels_vital import LEVEL_VALUES
from modeling_vital.publishing.code_files import code_files
from modeling_vital.yaml_file import read_yaml
from modeling_vital.zoo import presets


ROOT = Path(__file__).parents[1]
DATA = Path(__file__).with_name("data")
CITATION = ROOT / "CITATION.cff"
DEFAULT_ORG = "ORG"
PHOTO = "beach-jetty.jpg"
PICTURES = {"hero.jpg": "hero.jpg", "example.jpg": "beach-jetty-blurred.jpg"}
"""Pictures that a card of ours shows, to be sent beside it: name there -> file in `docs/images`."""

_WEAK_BELOW = 0.5
MEASURES = read_yaml(DATA / "measures.yaml")
"""What the suite `tiny` measures, section by section: words for cards and pages, and goals."""

_EVALUATED = "held-out photos and clips of package registries"
_WATTS_A_CORE = 8  # of a server's core with its share of memory and cooling: an assumption, said in the card


def photo_credit() -> tuple[str, str]:
    """Author and licence of the photo in `PICTURES`, as the examples' own table states them."""
    table = (ROOT / "spaces_demo" / "examples" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    row = next(line for line in table.splitlines() if line.startswith(f"| `{PHOTO}` |"))
    _, _, _, author, licence, *_ = (cell.strip() for cell in row.split("|"))
    return author, licence


class CardError(ValueError):
    """A card that cannot be rendered. The message names it and says what to do."""


def render_model_card(name: str, repo_id: str | None = None, weights: Path | None = None) -> str:
    """Renders the card of a member of the zoo.

    Args:
        name (`str`): one of `zoo.NAMES`.
        repo_id (`str`, *optional*): where it will be published; shown in the code. `ORG/name` by default.
        weights (`Path`, *optional*): folder of its weights, whose hashes and calibration, if there is one, are shown;
            that in the package by default, where it is there.

    Returns:
        `str`: a `README.md`, checked by huggingface_hub.

    Raises:
        CardError: for another name, a folder without weights, or a calibration that is none or of other weights.
    """
    if name not in zoo.NAMES:
        raise CardError(f"Unknown model {name!r}; the zoo has {', '.join(zoo.NAMES)}.")
    if weights is None and name in zoo.EMBEDDED:
        weights = Path(zoo.resolve(name))
    if weights is not None and not any(weights.glob("*.safetensors")):
        raise CardError(f"{weights} holds no .safetensors; give the folder of the weights of {name}.")
    entry, measured = presets.entry(name), read_measured(name)
    paper = json.loads((DATA / "paper.json").read_text(encoding="utf-8"))
    quoted = paper.get(name, {})
    text = (
        _environment()
        .get_template("model.md.jinja")
        .render(
            name=name,
            repo_id=repo_id or f"{DEFAULT_ORG}/{name}",
            probe=zoo.is_probe(name),
            weights=entry.weights,
            metadata=_metadata(name, repo_id or f"{DEFAULT_ORG}/{name}", measured, quoted).to_yaml().strip(),
            credit=photo_credit() if name == zoo.DEFAULT_MODEL else None,
            base_model=quoted.get("base_model"),
            parameters={part: presets.format_parameters(count) for part, count in entry.parameters.items()},
            memory={kind: presets.format_memory(size) for kind, size in entry.memory_bytes.items()},
            level_values=_values(LEVEL_VALUES),
            released_values=_values(SCORING_CONVENTIONS["released"].level_values),
            measured=measured,
            lines=measured_lines(measured) if measured else [],
            watts=_WATTS_A_CORE,
            **_distortions(measured),
            calibration=_calibration(weights),
            hashes=None if weights is None else file_hashes(weights),
            released_as=" and ".join(quoted.get("released_as", [])),
            released_as_first=next(iter(quoted.get("released_as", [])), None),
            results=quoted.get("results"),
            paper=paper["source"],
            bibtex=_bibtex(),
        )
    )
    ModelCard(text, ignore_metadata_errors=False)
    return text


def file_hashes(folder: Path) -> dict[str, str]:
    """Hashes the files that a stranger must not change unseen: code, weights and settings of a checkpoint.

    Args:
        folder (`Path`): a checkpoint; the code it is published with is the package's where it holds none.

    Returns:
        `dict[str, str]`: names to SHA-256 in hexadecimal, sorted by name.
    """
    files = {path.name: path for path in folder.iterdir() if path.suffix in (".py", ".safetensors", ".json")}
    files |= code_files(files)
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())}


_METHODS = {"averaged logistic4": "logistics of VQEG, averaged and shrunk to a line"}


def _calibration(weights: Path | None) -> dict[str, str] | None:
    """Lines about the calibration beside the weights."""
    try:
        found = None if weights is None else find_calibration(str(weights))
    except ValueError as error:
        raise CardError(str(error)) from error
    if found is None:
        return None
    if found.weights_sha256 != folder_sha256(weights):
        raise CardError(
            f"The calibration in {weights} is for other weights; run `vital calibrate` with these, or take it away."
        )
    return _calibration_lines(found)


def _calibration_lines(found: Calibration) -> dict[str, str]:
    rated = "pictures" if found.modality == "image" else "clips"
    worst_best = found.mos_range and [f"{end:g}" for end in found.mos_range]
    return {
        "method": _METHODS.get(found.method, found.method),
        "ratings": f"{found.ratings} {rated} of {found.contents} contents",
        "scale": f"{worst_best[0]} (worst) to {worst_best[1]} (best)" if worst_best else "that of the ratings",
        "cross-validated error (RMSE)": "{rmse:.3g} ({rmse_low:.3g} to {rmse_high:.3g})".format(**found.errors)
        + f" at {100 * found.confidence:g} %",
    }


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )


def read_measured(name: str, data: Path = DATA) -> dict[str, Any] | None:
    """Reads the measurements of a member of the zoo, as `model_cards.record` keeps them; `None` for nothing."""
    path = data / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _metadata(name: str, repo_id: str, measured: dict[str, Any] | None, quoted: dict[str, Any]) -> ModelCardData:
    shared = {
        "library_name": "transformers",
        "pipeline_tag": "image-classification" if zoo.is_probe(name) else "image-text-to-text",
        "tags": ["image-quality-assessment", "video-quality-assessment", "vital", "arxiv:2511.17962"],
        "language": "en",
    }
    if measured is None:
        return ModelCardData(
            **shared,
            base_model=quoted["base_model"],
            license="other",
            license_name=license_of(name, measured),
        )
    if name == zoo.DEFAULT_MODEL:
        shared["widget"] = [{"src": "example.jpg", "example_title": "A photo whose right third is blurred"}]
    else:
        shared["base_model"] = f"{repo_id.partition('/')[0]}/{zoo.DEFAULT_MODEL}"
    return ModelCardData(
        **shared,
        license=license_of(name, measured).lower(),
        metrics=["spearmanr", "accuracy"],
        model_name=name,
        eval_results=_eval_results(measured),
    )


def license_of(name: str, measured: dict[str, Any] | None) -> str:
    """The licence of a model's weights: ours where we made them, else whom to ask."""
    return "Apache-2.0" if name in zoo.EMBEDDED or measured is not None else "ask-the-authors-of-vital"


def _eval_results(measured: dict[str, Any]) -> list[EvalResult]:
    common = {"task_type": "image-text-to-text", "task_name": "visual quality assessment"}
    common |= {"dataset_type": "registry-photos", "dataset_name": _EVALUATED, "dataset_split": "test"}
    found = []
    for section, name, words, _, value in _measures(measured):
        if section in ("alike", "text", "text_shown"):
            continue
        correlates = "srcc" in value
        extra = {f"{end}_95": round(value[end], 4) for end in ("low", "high") if value.get(end) is not None}
        found.append(
            EvalResult(
                **common,
                dataset_config=name if section == "rows" else f"{section}_{name}".rstrip("_"),
                metric_type="spearmanr" if correlates else "accuracy",
                metric_name=words,
                metric_value=round(value["srcc" if correlates else "share"], 4),
                metric_args={**extra, "n": value["n"]},
            )
        )
    return found


def measured_lines(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The lines of the table of a card: what was measured, the number with its interval, the goal.

    Args:
        results (`dict`): what `training.suite.measurement.measure` returns.

    Returns:
        `list[tuple[str, str, str]]`: in the order of [`MEASURES`]; no line for what was not measured. Goals not set
        are `""`.
    """
    lines = []
    for _, _, words, goal, value in _measures(results):
        shown = _interval(value) if "srcc" in value else _share(value)
        aim = "" if goal is None else f"{goal:.2f}" if "srcc" in value else f"{goal:g} %"
        lines.append((words, shown, aim))
    return lines


def _measures(results: dict[str, Any]) -> Iterator[tuple[str, str, str, float | None, dict[str, Any]]]:
    """Section, measure, words, goal and numbers of all that was measured; a section of one measure has no name."""
    for section, about in MEASURES.items():
        found = results.get(section) or {}
        if section == "rows":
            found = {row["subset"]: row for row in found}
        elif section in ("text", "text_shown") and found:
            counts = {name: found["originals" if name == "none_of_originals" else "n"] for name in about["measures"]}
            found = {name: {"share": found[name], "n": count} for name, count in counts.items()}
        elif "measures" not in about:
            found = {"": found} if found else {}
        for name, measure in about.get("measures", {"": about}).items():
            value = found.get(name, {})
            if value.get("srcc", value.get("share")) is not None:
                words = about["words"] + measure["words"] if name else about["words"]
                yield section, name, words, measure.get("goal"), value


def _distortions(measured: dict[str, Any] | None) -> dict[str, Any]:
    if measured is None:
        return {"held_out": None, "by_distortion": None, "weak": None}
    by_name = sorted(measured["by_distortion"].items(), key=lambda item: item[1])
    ordered = [(name.replace("_", " "), value) for name, value in by_name]
    return {
        "held_out": ", ".join(name.replace("_", " ") for name in measured["held_out_distortions"]),
        "by_distortion": ordered,
        "weak": ", ".join(name for name, value in ordered if value < _WEAK_BELOW),
    }


def _bibtex() -> str:
    """The paper, from `CITATION.cff`."""
    paper = read_yaml(CITATION)["preferred-citation"]
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    fields = {"title": paper["title"], "author": authors, "journal": paper["journal"], "year": paper["year"]}
    return "@article{vital,\n" + "".join(f"  {key} = {{{value}}},\n" for key, value in fields.items()) + "}"


def _interval(result: dict[str, Any]) -> str:
    return f"{result['srcc']:.3f} ({result['low']:.3f} to {result['high']:.3f}, n = {result['n']})"


def _share(result: dict[str, Any]) -> str:
    share, low, high = (None if result.get(key) is None else 100 * result[key] for key in ("share", "low", "high"))
    span = "" if low is None or high is None else f"{low:.1f} to {high:.1f}, "
    apart = f"; {result['difference']:.3f} apart on average" if "difference" in result else ""
    return f"{share:.1f} % ({span}n = {result['n']}){apart}"


def _values(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
