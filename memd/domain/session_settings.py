"""What one session does otherwise than its namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Overrides of the namespace's settings of working memory by one session; None means not overridden."""

    working_max_items: int | None = None
    working_max_tokens: int | None = None
    compress: bool | None = None
    compress_at: float | None = None
    compress_keep: int | None = None
    compress_to: float | None = None
    summary_share: float | None = None

    def changed(self, change: SettingsChange) -> SessionSettings:
        made = replace(self, **change)  # type: ignore[arg-type]
        return NO_OVERRIDES if made == NO_OVERRIDES else made


NO_OVERRIDES = SessionSettings()
"""The one of most sessions, told by identity."""
SESSION_SETTINGS = tuple(field.name for field in fields(SessionSettings))
SettingsChange: TypeAlias = Mapping[str, int | float | bool | None]
"""New values by the names of SESSION_SETTINGS; None goes back to the namespace's. What is not named stays."""
