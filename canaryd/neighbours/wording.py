"""PURE: somebody else's words, fit to be shown."""

from __future__ import annotations

LONGEST = 200
"""Characters that are repeated."""


def plainly(text: str, longest: int = LONGEST) -> str:
    """The words in one line, without what cannot be printed, and cut."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
