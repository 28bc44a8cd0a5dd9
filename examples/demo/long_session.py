"""The demo's long session: a migration of many steps, most of them routine, a few worth keeping."""

from __future__ import annotations

from collections.abc import Sequence

from memd_client import Event, EventKind

NOTABLE = {
    4: (EventKind.DECISION, "We decided to move the orders table first, because checkout-7 reads it on every page."),
    9: (EventKind.ERROR, "Copying order_lines failed: the disk of db-2 is full at 480 GB."),
    13: (EventKind.DECISION, "We decided to archive the orders before 2019 to the bucket cold-orders."),
}
DECIDED = ("checkout-7", "cold-orders")
"""Of the decisions: words that tell them."""


def events() -> Sequence[Event]:
    """24 events: more than a session's working memory has items."""
    return [_event(number) for number in range(1, 25)]


def _event(number: int) -> Event:
    kind, content = NOTABLE.get(
        number, (EventKind.TURN, f"Batch {number} of the migration is through, on to the next.")
    )
    return Event(content, kind=kind, role="assistant")
