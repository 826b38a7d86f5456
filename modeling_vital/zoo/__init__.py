"""The models by name: the checkpoints that come with the package, and the sizes of the released ones.

`zoo.presets` has their configurations; it loads torch, this module does not.
"""

from pathlib import Path

from ..hub_ids import is_hub_id


EMBEDDED = ("vital-tiny", "vital-tiny-warmup", "vital-tiny-probe")
"""Names of the checkpoints inside the package; the first is the default of the command line."""

NAMES = (*EMBEDDED, "vital-1b", "vital-2b", "vital-8b", "vital-14b")
"""Names of all configurations, smallest first; only the embedded ones have their weights here."""

DEFAULT_MODEL = EMBEDDED[0]

PROBE_SUFFIX = "-probe"
"""Ends the name of a member that is a linear probe: it scores, but has no decoder to answer with."""


def is_probe(name: str) -> bool:
    """Returns `True` if a member of the zoo is a linear probe, by its name."""
    return name.endswith(PROBE_SUFFIX)


def resolve(name: str) -> str:
    """Resolves a model name to what `from_pretrained` takes.

    Args:
        name (`str`): name of an embedded checkpoint, a local checkpoint folder, or a Hub id such as `"org/vital-8b"`.

    Returns:
        `str`: the folder of the checkpoint, or the Hub id.

    Raises:
        ValueError: if the name is none of these, listing the embedded names, or has no weights in the package.
    """
    if name in EMBEDDED:
        return str(Path(__file__).parent / name)
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise ValueError(f"The folder {name!r} holds no checkpoint: it has no config.json.")
        return name
    if is_hub_id(name):
        return name
    if name in NAMES:
        raise ValueError(
            f"{name!r} has no weights inside the package: `vital zoo` says where to get them; then give their folder."
        )
    raise ValueError(
        f"Unknown model {name!r}. Give one of {', '.join(EMBEDDED)}, a checkpoint folder, or a Hub id like org/name."
    )
