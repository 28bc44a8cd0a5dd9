"""When and how long to wait before the same call is sent again: pure, shared by both clients.

Only Unavailable is retried, with the same request (and so the same ``request_id``), until the call's own deadline.
"""

from __future__ import annotations

from dataclasses import dataclass

from memd_client.errors import MemdError, Unavailable, Unreachable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter; the call's deadline bounds it all.

    The n-th pause (n from 0) is drawn evenly from ``[1 - jitter, 1] * min(first_s * factor**n, most_s)``, and is never
    shorter than what the daemon asked for. ``attempts`` bounds the tries of one call, 1 turns retries off.
    ``unreachable`` False gives up at once where no daemon answers.
    """

    first_s: float = 0.02
    factor: float = 2.0
    most_s: float = 1.0
    jitter: float = 0.5
    attempts: int = 100
    unreachable: bool = True


def pause_s(policy: RetryPolicy, error: MemdError, tried: int, remaining_s: float, roll: float) -> float | None:
    """Seconds to wait before try ``tried + 1``, or None to give up and raise ``error``.

    ``tried`` counts the tries so far (from 1), ``remaining_s`` is what is left of the deadline, ``roll`` a random number
    in [0, 1).
    """
    if not isinstance(error, Unavailable) or tried >= policy.attempts:
        return None
    if isinstance(error, Unreachable) and not policy.unreachable:
        return None
    longest = min(policy.first_s * policy.factor ** min(tried - 1, 64), policy.most_s)
    pause = max(longest * (1.0 - policy.jitter * roll), error.retry_after_s)
    return pause if pause < remaining_s else None
