"""What the status of a tier means, in words: what is missing, since when, and what to do."""

from __future__ import annotations

from datetime import timedelta

from memd_client.enums import Tier, TierState

_BACK = "The daemon goes on asking, and the tier is back by itself as soon as it gets an answer."
_WORDS = {
    "REPLICA_BEHIND": f"answered from the daemon's copy{{}}: Postgres does not answer, or not quickly enough. {_BACK}",
    "REPLICA_STALE": (
        "missing: Postgres has been out of reach{}, longer than replica.max_stale, or this daemon has no copy of the"
        f" namespace. Bring Postgres back; writes are refused until then. {_BACK}"
    ),
    "REPLICA_LOADING": "incomplete: the daemon still loads the namespace from Postgres. Ask again in a moment.",
    "INDEX_LOADING": "answered by meaning alone: the index of the namespace is being loaded. Ask again in a moment.",
    "EMBEDDING_UNAVAILABLE": (
        "answered by words alone: there is no embedding of the query. Where that lasts, see `memd stats` and"
        " `memd model install`."
    ),
    "NO_SESSION": "not asked: the call has no session_id.",
}
_SESSIONS = frozenset({Tier.WORKING, Tier.EPISODIC})
_STORE_GONE = frozenset({"UNAVAILABLE", "STORE_BUSY"})
_NO_SESSIONS = f"missing: the store of sessions (Redis, or else Postgres) does not answer{{}}. Bring it back. {_BACK}"
_NO_STORE = f"missing: its store does not answer{{}}. Bring it back. {_BACK}"
_LATE = "missing: it did not answer within the call's deadline. Give the call more time; where that lasts, see `memd stats`."


def explained(tier: Tier, state: TierState, reason: str, staleness: timedelta) -> str:
    """One or two sentences; "" for OK."""
    if state is TierState.OK:
        return ""
    if state is TierState.TIMED_OUT:
        return _LATE
    known = _WORDS.get(reason)
    if known is None and reason in _STORE_GONE:
        known = _NO_SESSIONS if tier in _SESSIONS else _NO_STORE
    if known is None:
        return f"{state}, {reason or 'for no reason that was given'}: the daemon's log says more."
    return known.format(_since(reason, staleness))


def _since(reason: str, staleness: timedelta) -> str:
    seconds = staleness.total_seconds()
    if not seconds:
        return ""
    long = f"{seconds:.0f} s" if seconds >= 1 else "less than a second"
    return f", which may be {long} old" if reason == "REPLICA_BEHIND" else f" for {long}"
