"""Redis's errors as memd's, by one table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from redis import exceptions as foreign

from memd.domain.errors import Corruption, MemdError, StoreBusy, StoreFull, Unavailable

UNCLEAR = "; a write may have been done: repeat it with the same request_id"


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error of Redis means.

    ``lost``: the connection, not the command, failed. ``hung``: nothing came in time. ``undone``: certainly nothing was
    done, so that the call may be tried again.
    """

    ours: type[MemdError]
    message: str
    lost: bool = False
    hung: bool = False
    undone: bool = False


_HUNG = Failure(Unavailable, "Redis did not answer in time" + UNCLEAR, lost=True, hung=True)
_UNREACHABLE = Failure(Unavailable, "Redis cannot be reached", lost=True, undone=True)
_LOST = Failure(Unavailable, "the connection to Redis was lost" + UNCLEAR, lost=True)
_TYPES: tuple[tuple[type[Exception], Failure], ...] = (
    (foreign.BusyLoadingError, Failure(StoreBusy, "Redis is loading its data", undone=True)),
    (foreign.AuthenticationError, Failure(Unavailable, "Redis refuses the user or password", undone=True)),
    (foreign.AuthorizationError, Failure(Unavailable, "Redis refuses the user", undone=True)),
    (foreign.NoPermissionError, Failure(Unavailable, "the Redis user lacks a permission", undone=True)),
    (foreign.MaxConnectionsError, Failure(StoreBusy, "every connection to Redis is in use", undone=True)),
    (foreign.OutOfMemoryError, Failure(StoreFull, "Redis is out of memory: nothing was written", undone=True)),
    (foreign.ReadOnlyError, Failure(StoreBusy, "Redis has become a replica", undone=True)),
    (foreign.MasterDownError, Failure(StoreBusy, "the Redis primary is down", undone=True)),
    (foreign.ClusterDownError, Failure(StoreBusy, "the Redis cluster is down", undone=True)),
    (foreign.TryAgainError, Failure(StoreBusy, "the Redis cluster moves this slot", undone=True)),
    (foreign.AskError, Failure(StoreBusy, "the Redis cluster moves this slot", undone=True)),
    (foreign.TimeoutError, _HUNG),
    (TimeoutError, _HUNG),
    (foreign.ConnectionError, _LOST),
    (OSError, _LOST),
    (foreign.InvalidResponse, Failure(Unavailable, "what answers does not speak Redis's protocol")),
    (foreign.ClusterError, Failure(StoreBusy, "the Redis cluster cannot serve this slot")),
    (foreign.RedisClusterException, Failure(StoreBusy, "the Redis cluster cannot be reached", lost=True, undone=True)),
)
_PREFIXES: tuple[tuple[str, Failure], ...] = (
    ("MISCONF", Failure(StoreBusy, "Redis cannot write to its disk and refuses writes", undone=True)),
    ("NOREPLICAS", Failure(StoreBusy, "Redis has too few replicas to accept writes", undone=True)),
    ("BUSY ", Failure(StoreBusy, "Redis is busy with a script", undone=True)),
    ("UNBLOCKED", Failure(StoreBusy, "Redis changed its role")),
    ("WRONGTYPE", Failure(Corruption, "a key of memd's in Redis holds something else")),
)
FOREIGN = (foreign.RedisError, foreign.RedisClusterException, OSError, TimeoutError)
"""All that a call may raise."""


@contextlib.contextmanager
def closed_is_lost() -> Iterator[None]:
    """redis-py writes to a connection that was closed a moment ago as if it were open (its issue 4287), and what comes
    out is a TypeError or an AttributeError of its own inside: here it is the lost connection it means."""
    try:
        yield
    except (AttributeError, TypeError) as error:
        if _raised_in(error) not in {"redis", "asyncio"}:
            raise
        raise foreign.ConnectionError("the connection was closed under a command") from error


def _raised_in(error: BaseException) -> str:
    """The package whose line raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]


def failure(error: BaseException) -> Failure | None:
    """None for an error that means a bug of memd (a bad script): let it pass as it is."""
    if isinstance(error, foreign.ConnectionError | foreign.TimeoutError) and "connecting to" in str(error):
        return _UNREACHABLE
    for kind, meaning in _TYPES:
        if isinstance(error, kind):
            return meaning
    for prefix, meaning in _PREFIXES:
        if prefix in str(error)[: 4 * len(prefix)]:
            return meaning
    return None
