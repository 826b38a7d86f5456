"""What mkdocs does besides: transformers writes [`Name`] in docstrings where its own documentation makes a link."""

import re


def on_page_content(html: str, **_) -> str:
    """Takes the brackets off."""
    return re.sub(r"\[(<code>[^<]*</code>)\](?![(\[])", r"\1", html)
