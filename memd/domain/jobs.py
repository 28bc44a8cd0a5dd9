"""What is known of a background job since the daemon's start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobReport:
    """``done``: what was gone on in, all runs together; ``waiting``: what is to be done, or what the last run left.
    ``spent_us``: of all runs together. ``last_error`` is the reason of the last failure, never its text; "" after a run that
    did not fail. ``next_us``: when it runs by itself, None while it does."""

    job: str
    runs: int = 0
    failures: int = 0
    done: int = 0
    waiting: int = 0
    spent_us: int = 0
    last_us: int | None = None
    last_duration_us: int = 0
    last_error: str = ""
    next_us: int | None = None
