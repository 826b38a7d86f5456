"""Selects what of a folder is published: by a list of what belongs to a model, a data set or a Space."""

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from pathlib import Path


_ABOUT = ("README.md", "LICENSE*", "LICENCE*", "NOTICE*", "CITATION*", ".gitattributes")
BELONGS = {
    "model": (
        *_ABOUT,
        *("*.safetensors", "*.safetensors.index.json", "*_vital.py", "config.json", "generation_config.json"),
        *("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"),
        *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"),
        *("added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "*.tiktoken"),
        *("chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja", "recipe.yaml"),
        "calibration.json",
    ),
    "dataset": (
        *_ABOUT,
        *("*.parquet", "**.parquet", "statistics.json", "croissant.json", "dataset_infos.json"),
    ),
    "space": (
        *_ABOUT,
        *("requirements.txt", "pre-requirements.txt", "packages.txt", "Dockerfile"),
        *(f"**.{suffix}" for suffix in ("py", "md", "css", "js", "html", "json", "yaml", "toml", "jinja", "csv")),
        *(f"**.{suffix}" for suffix in ("png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "mp4", "webm", "wav")),
    ),
}
"""Patterns of paths in the repository, by kind. `*` stays within a folder, `**` does not."""

_CARD_PICTURES = re.compile(r"(?:\]\(|src=\")(?:\./)?([^\s)\"]+\.(?:png|jpe?g|gif|svg|webp))", re.IGNORECASE)
_SECRET_NAMES = (
    *(
        "id_rsa*",
        "id_dsa*",
        "id_ecdsa*",
        "id_ed25519*",
        "*.pem",
        "*.key",
        "*.p12",
        "*.pfx",
        "*.ppk",
        "*.jks",
        "*.kdbx",
    ),
    *("*.env", ".env*", "*.env.*", "token*", "*_token", "*_token.*", "*token.txt", "credentials*", "*credentials.*"),
    *("secret*", "*_secret.*", "*secrets.*", "passwords*", "password*", "*.htpasswd", "*.netrc", "netrc", "_netrc"),
    *("*.pgpass", "*.npmrc", "*.pypirc", "*service_account*.json", "*service-account*.json", "*.keystore"),
)
_NO_SECRETS = {name for name in BELONGS["model"] if name.startswith("token")}
_SECRET_TEXT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|\bhf_[A-Za-z0-9]{30,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}"
    rb"|\bgithub_pat_[A-Za-z0-9_]{50,}|\bsk-[A-Za-z0-9_-]{32,}|\bxox[abprs]-[A-Za-z0-9-]{20,}|\bAIza[A-Za-z0-9_-]{35}\b"
)
_MAX_SEARCHED_BYTES = 2**20
_LOCAL_PATH = re.compile(
    r"(?<![\w./~:-])(?:/(?:home|Users|root|mnt|media|tmp|var|data|srv|work|opt|scratch)/|[A-Z]:\\)[^\s'\"`,]*"
)


def belongs(kind: str, name: str) -> bool:
    """Says whether a path in the repository is on the list of what makes up a model, a data set or a Space."""
    return any(_matches(name, pattern) for pattern in BELONGS[kind])


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("**"):
        return fnmatch(name.lower(), pattern[1:])
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def shown_by_card(card: Path, names: Collection[str]) -> set[str]:
    """Finds the pictures in a folder that its card shows.

    Args:
        card (`Path`): a `README.md`.
        names (`Collection[str]`): files of the folder.

    Returns:
        `set[str]`: those of them that the card links to.
    """
    return set(_CARD_PICTURES.findall(card.read_text(encoding="utf-8", errors="replace"))) & set(names)


def looks_secret(name: str, path: Path) -> str | None:
    """Says why a file looks like a secret: its name, or a key or token in a text of 1 MiB at most.

    Args:
        name (`str`): path in the repository.
        path (`Path`): the file.

    Returns:
        `str`, *optional*: the reason; `None` where there is none.
    """
    last = name.rsplit("/", 1)[-1]
    if name not in _NO_SECRETS and any(fnmatch(last.lower(), pattern) for pattern in _SECRET_NAMES):
        return "its name is that of a secret"
    if path.stat().st_size <= _MAX_SEARCHED_BYTES and _SECRET_TEXT.search(path.read_bytes()):
        return "a key or token stands in it"
    return None


def local_paths(files: Mapping[str, Path]) -> dict[str, str]:
    """Finds texts that name a path of this machine.

    Args:
        files (`Mapping[str, Path]`): path in the repository -> file.

    Returns:
        `dict[str, str]`: path in the repository -> the first such path in it.
    """
    found = {}
    for name, path in files.items():
        if name.endswith((".md", ".yaml", ".json")) and path.stat().st_size <= _MAX_SEARCHED_BYTES:
            if place := _LOCAL_PATH.search(path.read_text(encoding="utf-8", errors="replace")):
                found[name] = place[0]
    return found


__all__ = ["BELONGS", "belongs", "local_paths", "looks_secret", "shown_by_card"]
