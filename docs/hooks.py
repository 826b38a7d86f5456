"""Additions to the site's generator: version and source link in the header, docstrings as transformers writes them."""

import re
import subprocess
from pathlib import Path

import griffe


ROOT = Path(__file__).parents[1]
_TYPE = re.compile(r"^( *[*\w, ]+) \(([^\n]*?`[^\n]*?)\):(?=\s)", re.MULTILINE)


class TransformersDocstrings(griffe.Extension):
    """Takes from the type of an argument the marks that a table of arguments has no use for."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            obj.docstring.value = _TYPE.sub(lambda m: f"{m[1]} ({_plain(m[2])}):", obj.docstring.value)


def _plain(text: str) -> str:
    return re.sub(r", \*optional\*(, defaults to .*)?|, defaults to .*|`", "", text)


def on_config(config, **_):
    """Puts the version beside the site's name, and a link to the repository that this clone came from."""
    (version,) = re.findall(r'__version__ = "([^"]+)"', (ROOT / "modeling_vital" / "_version.py").read_text())
    config.site_name = f"{config.site_name} {version}"
    config.repo_url = config.repo_url or web_address(_origin())
    config.repo_name = "Source" if config.repo_url else None
    return config


def _origin() -> str:
    command = ["git", "-C", str(ROOT), "config", "--get", "remote.origin.url"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # there is no git
        return ""


def web_address(remote: str) -> str | None:
    """The address of a repository in a browser; `None` for a folder, an unknown scheme, or one with a password."""
    found = re.fullmatch(r"(?:https://|git@|ssh://git@)([\w.-]+)[:/]([\w./~-]+?)(?:\.git)?/?", remote)
    return f"https://{found[1]}/{found[2]}" if found else None


def on_page_content(html: str, **_) -> str:
    """Takes the brackets off [`Name`], which transformers' own documentation makes a link."""
    return re.sub(r"\[(<code>[^<]*</code>)\](?![(\[])", r"\1", html)
