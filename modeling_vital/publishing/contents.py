"""Files of a folder that go to the Hub, with a check that it is a model, a data set or a Space. Needs no network."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, ModelCard, SpaceCard
from packaging.requirements import InvalidRequirement, Requirement

from .code_files import code_files, named_code
from .errors import PublishError
from .selection import belongs, local_paths, looks_secret, shown_by_card


KINDS = ("model", "dataset", "space")
CARD = "README.md"

_CARDS = {"model": ModelCard, "dataset": DatasetCard, "space": SpaceCard}
_LEFT_OUT = {"__pycache__", "node_modules"}
_SPACE_COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
_SHORT_DESCRIPTION_CHARS = 60  # what the Hub takes


@dataclass(frozen=True)
class Contents:
    """A folder that is fit to be published.

    Attributes:
        kind (`str`): one of `KINDS`.
        root (`Path`): the folder.
        files (`dict[str, Path]`): path in the repository -> file, sorted; of a model also the code its settings name.
        left_out (`list[str]`): what stays here: all that is not on the list of what belongs to this kind.
        warnings (`list[str]`): what is allowed, but probably not meant.
    """

    kind: str
    root: Path
    files: dict[str, Path]
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(path.stat().st_size for path in self.files.values())


def read_contents(kind: str, root: Path, card: Path | None = None, also: Iterable[str] = ()) -> Contents:
    """Lists the files of a folder that belong to its kind, and checks that they make what they shall be.

    That a model loads and a data set can be read is tried by [`modeling_vital.publishing.trial.run_trial`].

    Args:
        kind (`str`): one of `KINDS`.
        root (`Path`): the folder.
        card (`Path`, *optional*): a file that becomes the `README.md`, in the place of the folder's own. Pictures that
            it shows and that lie beside it are sent, too.
        also (`Iterable[str]`, *optional*): paths in the folder to send though they are not on the list, look like a
            secret, or are links out of the folder.

    Returns:
        `Contents`: what is to be sent.

    Raises:
        PublishError: something is missing or wrong, or what would be sent looks like a secret.
    """
    if not root.is_dir():
        raise PublishError(f"{root} is not a folder; give the folder of the {kind}.")
    there, left_out = {}, []
    for path, relative, hidden in _walk(root):
        if hidden and relative not in also:
            left_out.append(relative)
        else:
            there[relative] = path
    if missing := sorted(set(also) - set(there)):
        raise PublishError(f"{root} has no file {', '.join(missing)} to send; give paths as the folder has them.")
    beside: dict[str, Path] = {}
    if card is not None:
        beside = {path.name: path for path in card.absolute().parent.iterdir() if path.is_file()}
        beside = {name: beside[name] for name in shown_by_card(card, beside)}
        _check_safe(card.absolute().parent, beside)
        there |= {**beside, CARD: card}
    wanted = {name for name in there if belongs(kind, name)} | set(also)
    if CARD in there:
        wanted |= shown_by_card(there[CARD], there)
    if kind == "model":
        wanted |= named_code(there)
    files = {name: path for name, path in there.items() if name in wanted}
    left_out += sorted(set(there) - wanted)
    _check_safe(
        root, {name: path for name, path in files.items() if name not in also and path != card and name not in beside}
    )
    if kind == "model":
        files |= code_files(files)
    contents = Contents(kind, root, dict(sorted(files.items())), sorted(left_out))
    {"model": _check_model, "dataset": _check_dataset, "space": _check_space}[kind](contents)
    for name, place in local_paths(contents.files).items():
        contents.warnings.append(f"{name} names {place}, a path of this machine: is that meant for everybody?")
    return contents


def _check_safe(root: Path, files: Mapping[str, Path]) -> None:
    real = Path(os.path.realpath(root))
    found = []
    for name, path in files.items():
        if not Path(os.path.realpath(path)).is_relative_to(real):
            found.append(f"{name} (a link out of the folder)")
        elif reason := looks_secret(name, path):
            found.append(f"{name} ({reason})")
    if found:
        raise PublishError(
            f"nothing is sent, for {root} holds what nobody may mean to publish: {', '.join(found)}. Take it away, "
            "put the file itself in the place of a link, or name it with --also."
        )


def _walk(root: Path) -> Iterator[tuple[Path, str, bool]]:
    """Files, and folders that are passed over, each with whether it is hidden."""

    def fail(error: OSError) -> None:
        raise PublishError(f"{error.filename} cannot be listed: {error.strerror}.")

    for parent, folders, names in os.walk(root, onerror=fail):
        for name in [*folders, *names]:
            path = Path(parent, name)
            hidden = name in _LEFT_OUT or name.endswith(".pyc") or (name.startswith(".") and name != ".gitattributes")
            if hidden or name in names:
                yield path, path.relative_to(root).as_posix() + ("/" if name in folders else ""), hidden
            elif path.is_symlink():
                raise PublishError(f"{path} is a link to a folder; put the folder itself in its place.")
            if not hidden and name in names and not path.is_file():
                raise PublishError(f"{path} is not a regular file, or links to nothing; take it away.")
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith(".")]


# ------------------------------------------------------------------------------------------------------- the kinds
def _check_model(contents: Contents) -> None:
    _require(contents, "config.json")
    weights = [name for name in contents.files if name.endswith(".safetensors")]
    if not weights:
        raise PublishError(f"{contents.root} has no weights: there is no .safetensors file in it.")
    index = contents.files.get("model.safetensors.index.json")
    if index is not None:
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PublishError(f"{index} is no index of weights; save the model again.") from error
        missing = sorted(shards - set(weights))
        if missing:
            raise PublishError(f"{contents.root} lacks weights that its index names: {', '.join(missing)}.")
    if CARD in contents.files:
        read_card("model", contents.files[CARD])
    else:
        contents.warnings.append(
            "there is no README.md, so the Hub will show no model card; `python -m model_cards render` writes one, "
            "--card FILE sends it along"
        )


def _check_dataset(contents: Contents) -> None:
    metadata = read_card("dataset", _require(contents, CARD))
    tables = [name for name in contents.files if name.endswith(".parquet")]
    if not tables:
        raise PublishError(f"{contents.root} has no .parquet file; `python -m dataset_scripts build` writes them.")
    for name in tables:
        if not _is_whole_parquet(contents.files[name]):
            raise PublishError(f"{contents.files[name]} is not a whole Parquet file; write it again.")
        if place := _path_in_parquet(contents.files[name]):
            raise PublishError(
                f"{contents.files[name]} holds no picture or clip, but {place}, a path of this machine: nobody else "
                "could open it. Put the files into the Parquet file (`datasets` does when it pushes or embeds)."
            )
    if not metadata.get("license"):
        raise PublishError(f"{contents.files[CARD]} names no `license` in its YAML block; say under which one it is.")
    if not metadata.get("configs"):
        contents.warnings.append("the card names no `configs`: the Hub will guess configurations from file names")


def _is_whole_parquet(path: Path) -> bool:
    """Returns `True` if the format's mark stands at both ends, as in a file that was written to its end."""
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(max(-4, -path.stat().st_size), os.SEEK_END)
        return head == file.read(4) == b"PAR1"


def _path_in_parquet(path: Path) -> str | None:
    """The first absolute path that stands in the place of a picture's or clip's bytes."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:  # the trial, which needs it as well, says so
        return None
    try:
        with ParquetFile(path) as table:
            leaves = [table.schema.column(i).path for i in range(len(table.schema))]
            columns = [leaf for leaf in leaves if leaf.endswith(".path") and f"{leaf[:-5]}.bytes" in leaves]
            for batch in table.iter_batches(batch_size=1024, columns=columns) if columns else ():
                for values in batch.to_pydict().values():
                    for place in _paths_of(values):
                        if os.path.isabs(place):
                            return place
    except (ArrowException, OSError):  # the trial says what is wrong with it
        return None
    return None


def _paths_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["path"]] if isinstance(value.get("path"), str) else []
    elif isinstance(value, list):
        for each in value:
            yield from _paths_of(each)


def _check_space(contents: Contents) -> None:
    card = _require(contents, CARD)
    metadata = read_card("space", card)
    if metadata.get("sdk") not in ("gradio", "docker", "static"):
        raise PublishError(f"{card} needs `sdk: gradio` (or docker, static) in its YAML block.")
    for key in ("colorFrom", "colorTo"):
        if metadata.get(key) and metadata[key] not in _SPACE_COLORS:
            raise PublishError(f"{card}: `{key}` is one of {', '.join(sorted(_SPACE_COLORS))}, got {metadata[key]!r}.")
    if len(metadata.get("short_description") or "") > _SHORT_DESCRIPTION_CHARS:
        raise PublishError(f"{card}: `short_description` has at most {_SHORT_DESCRIPTION_CHARS} characters.")
    if metadata["sdk"] != "gradio":
        return
    if not metadata.get("sdk_version"):
        contents.warnings.append("the card names no `sdk_version`: the Space changes with every release of gradio")
    app = _require(contents, metadata.get("app_file") or "app.py")
    try:
        compile(app.read_text(encoding="utf-8"), str(app), "exec")
    except (SyntaxError, UnicodeDecodeError) as error:
        raise PublishError(f"{app} is not Python that runs: {error}.") from error
    _check_requirements(_require(contents, "requirements.txt"))


def _check_requirements(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        wanted = line.split(" #")[0].strip()
        if not wanted or wanted.startswith(("#", "-")):
            continue
        try:
            Requirement(wanted)
        except InvalidRequirement as error:
            raise PublishError(f"{path}, line {number}: {wanted!r} is not a requirement: {error}.") from error


def read_card(kind: str, path: Path) -> dict[str, Any]:
    """The YAML block of a card, as huggingface_hub reads it.

    Args:
        kind (`str`): one of `KINDS`.
        path (`Path`): a `README.md`.

    Returns:
        `dict`: metadata.

    Raises:
        PublishError: there is none, or huggingface_hub refuses it.
    """
    try:
        metadata = _CARDS[kind](path.read_text(encoding="utf-8"), ignore_metadata_errors=False).data.to_dict()
    except Exception as error:  # whatever YAML and huggingface_hub's checks raise: all mean a bad card
        raise PublishError(f"{path} has a YAML block that cannot be used: {error}") from error
    if not metadata:
        raise PublishError(f"{path} does not begin with a YAML block between lines of `---`; the Hub needs one.")
    return metadata


def _require(contents: Contents, name: str) -> Path:
    if name not in contents.files:
        raise PublishError(f"{contents.root} is not a {contents.kind} to publish: it has no {name}.")
    return contents.files[name]
