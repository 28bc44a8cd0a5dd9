"""What people are told of a tier that did not answer as it should: what is missing, since when, what to do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from memd_client import Tier, TierState
from memd_client.explanations import explained

S = timedelta(seconds=1)


def test_a_tier_that_answered_needs_no_words() -> None:
    assert explained(Tier.SEMANTIC, TierState.OK, "", 0 * S) == ""


@pytest.mark.parametrize(
    ("tier", "state", "reason", "staleness", "words"),
    [
        (Tier.WORKING, TierState.SKIPPED, "UNAVAILABLE", 75 * S, ("store of sessions", "for 75 s", "Bring it back")),
        (Tier.EPISODIC, TierState.SKIPPED, "STORE_BUSY", 0 * S, ("store of sessions", "does not answer.")),
        (Tier.SEMANTIC, TierState.SKIPPED, "STORE_BUSY", 0 * S, ("its store", "by itself")),
        (Tier.SEMANTIC, TierState.DEGRADED, "REPLICA_BEHIND", 12 * S, ("copy, which may be 12 s old", "Postgres")),
        (Tier.SEMANTIC, TierState.DEGRADED, "REPLICA_BEHIND", 0.2 * S, ("less than a second old",)),
        (Tier.SEMANTIC, TierState.SKIPPED, "REPLICA_STALE", 61 * S, ("for 61 s", "max_stale", "Bring Postgres back")),
        (Tier.SEMANTIC, TierState.TIMED_OUT, "", 0 * S, ("deadline", "more time")),
        (Tier.SEMANTIC, TierState.SKIPPED, "SOMETHING_NEW", 0 * S, ("SOMETHING_NEW", "log")),
    ],
)
def test_the_words_say_what_and_since_when(
    tier: Tier, state: TierState, reason: str, staleness: timedelta, words: tuple[str, ...]
) -> None:
    told = explained(tier, state, reason, staleness)
    assert all(part in told for part in words), told
    assert "{" not in told
