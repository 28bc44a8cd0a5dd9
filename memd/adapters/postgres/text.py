"""Texts of callers may hold NUL, which Postgres's text cannot."""

from __future__ import annotations

_ESCAPE, _ITSELF, _NUL = "\ue000", "\ue001", "\ue002"
"""Of the private use area: rare, and escaped where they occur."""


def stored_text(text: str) -> str:
    """The text with NUL and the escape character escaped; nearly always the text itself."""
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, _ESCAPE + _ITSELF).replace("\0", _ESCAPE + _NUL)


def loaded_text(stored: str) -> str:
    """What ``stored_text`` was given."""
    if _ESCAPE not in stored:
        return stored
    return stored.replace(_ESCAPE + _NUL, "\0").replace(_ESCAPE + _ITSELF, _ESCAPE)
