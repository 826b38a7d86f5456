"""What the site's generator does besides, with docstrings as transformers writes them."""

import re

import griffe


_TYPE = re.compile(r"^( *[*\w, ]+) \(([^\n]*?`[^\n]*?)\):(?=\s)", re.MULTILINE)


class TransformersDocstrings(griffe.Extension):
    """Takes from the type of an argument the marks that a table of arguments has no use for."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            obj.docstring.value = _TYPE.sub(lambda m: f"{m[1]} ({_plain(m[2])}):", obj.docstring.value)


def _plain(text: str) -> str:
    return re.sub(r", \*optional\*(, defaults to .*)?|, defaults to .*|`", "", text)


def on_page_content(html: str, **_) -> str:
    """Takes the brackets off [`Name`], which transformers' own documentation makes a link."""
    return re.sub(r"\[(<code>[^<]*</code>)\](?![(\[])", r"\1", html)
