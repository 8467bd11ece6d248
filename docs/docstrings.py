"""Docstrings of the package as Markdown: its few words of reStructuredText are translated before they are rendered."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|data):`~?([\w.]+)`")
# A line that begins with a name or an expression, what it is in indented lines below: a list of definitions.
TERM = re.compile(r"^(``[^\n]+)\n((?: {4}[^\n]*\n?)+)", re.MULTILINE)


def markdown(text: str) -> str:
    """The same text in Markdown; references become links where the page has their target."""
    text = TERM.sub(lambda found: f"\n{found[1]}\n:   {found[2].strip()}\n", text)
    return ROLE.sub(r'<autoref optional identifier="\1">`\1`</autoref>', text)


class Docstrings(Extension):
    """Translates every docstring that is loaded."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
