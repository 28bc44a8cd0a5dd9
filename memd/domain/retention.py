"""Retention: which memories of a namespace are too many, or too old.

A memory's age counts from when it was last written (its ``update_time``), so that what is corrected or restated with a change
is young again. The oldest go first. Memories that are pinned are outside of a policy that keeps them: neither counted nor
deleted. What has expired is not counted either: it goes by its own TTL.
"""

from __future__ import annotations

from dataclasses import dataclass

from memd.domain.model import NamespaceSettings


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What may stay: memories written within ``max_age_us``, the newest ``max_count`` of them; None is no bound."""

    max_age_us: int | None = None
    max_count: int | None = None
    keep_if_pinned: bool = True

    @property
    def bounds(self) -> bool:
        """Whether anything may ever go."""
        return self.max_age_us is not None or self.max_count is not None

    def cutoff_us(self, now_us: int) -> int | None:
        """What was last written then or before is too old."""
        return None if self.max_age_us is None else now_us - self.max_age_us

    def surplus(self, subject: int, old: int) -> int:
        """How many have to go of ``subject`` memories, of which ``old`` are too old. The oldest are those that are too many,
        so the two bounds overlap."""
        return max(old, 0 if self.max_count is None else subject - self.max_count)


@dataclass(frozen=True, slots=True)
class Outdated:
    """A memory as it was found: written again since, it is another one, and stays."""

    memory_id: str
    version: int
    update_time: int


@dataclass(frozen=True, slots=True)
class Surplus:
    """``count``: memories that a policy lets go of; ``oldest``: the first of them, oldest first."""

    count: int = 0
    oldest: tuple[Outdated, ...] = ()


def policy_of(settings: NamespaceSettings) -> RetentionPolicy:
    return RetentionPolicy(
        settings.retention_max_age_us,
        settings.retention_max_count,
        settings.retention_keep_if_pinned is not False,
    )


def asks_too_much(surplus: int, memories: int) -> bool:
    """Whether a new policy takes so much (more than half of all memories there are) that it looks like a mistake."""
    return 2 * surplus > memories
