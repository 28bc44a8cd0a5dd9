"""What was valid when, over a real daemon: Recall, List and Get agree, corrections keep their history, and an earlier state
can be made current again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from memd_client import Client, Memory, NewMemory, errors

from tests.daemon import Daemon

ASKED = "which city does Ada live in?"
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
MOVED = datetime(2024, 6, 1, tzinfo=UTC)
LEFT = datetime(2025, 2, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Daemon(tmp_path) as daemon, Client(daemon.address, user_id="ada") as connected:
        connected.remember([NewMemory("Ada lives in Graz", memory_id="graz", valid_from=BEGAN)])
        connected.remember([NewMemory("Ada lives in Linz", memory_id="linz", supersedes="graz", valid_from=MOVED)])
        connected.remember([NewMemory("Ada lives in Wels", memory_id="wels", supersedes="linz", valid_from=LEFT)])
        yield connected


def _seen(client: Client, as_of: datetime | None) -> list[set[str]]:
    """What each way to read says is valid."""
    recalled = {hit.memory.memory_id for hit in client.recall(ASKED, as_of=as_of, tiers=["semantic"]).memories}
    listed = {memory.memory_id for memory in client.list(as_of=as_of)}
    got = set()
    for memory_id in ("graz", "linz", "wels"):
        try:
            got.add(client.get(memory_id, as_of=as_of or datetime.now(UTC)).memory_id)
        except errors.NotFound:
            continue
    return [recalled, listed, got]


@pytest.mark.parametrize(
    ("as_of", "lives"),
    [
        (BEGAN - INSTANT, set()),
        (BEGAN, {"graz"}),
        (MOVED - INSTANT, {"graz"}),
        (MOVED, {"linz"}),
        (LEFT - INSTANT, {"linz"}),
        (LEFT, {"wels"}),
        (None, {"wels"}),
    ],
)
def test_every_way_to_read_sees_what_was_valid_then(client: Client, as_of: datetime | None, lives: set[str]) -> None:
    assert _seen(client, as_of) == [lives] * 3


def test_what_is_over_is_still_there_with_its_links(client: Client) -> None:
    graz, linz, wels = (client.get(memory_id) for memory_id in ("graz", "linz", "wels"))
    assert (graz.valid_from, graz.valid_to, graz.superseded_by) == (BEGAN, MOVED, "linz")
    assert (linz.supersedes, linz.valid_to, linz.superseded_by) == ("graz", LEFT, "wels")
    assert (wels.supersedes, wels.valid_to, wels.superseded_by) == ("linz", None, "")
    assert {memory.memory_id for memory in client.list(include_invalid=True)} == {"graz", "linz", "wels"}


def test_a_validity_that_ends_and_one_that_has_not_begun(client: Client) -> None:
    later = datetime.now(UTC) + timedelta(days=9)
    client.remember([NewMemory("The pass is valid in the tram", memory_id="pass", valid_to=LEFT)])
    client.remember([NewMemory("The new pass is valid in the tram", memory_id="new", valid_from=later)])
    asked = "is there a pass for the tram?"

    def found(as_of: datetime | None) -> set[str]:
        hits = {hit.memory.memory_id for hit in client.recall(asked, as_of=as_of, tiers=["semantic"]).memories}
        return hits & {"pass", "new"}

    assert [found(LEFT - INSTANT), found(LEFT), found(None), found(later)] == [{"pass"}, set(), set(), {"new"}]


def test_a_correction_keeps_its_history_and_can_be_taken_back(client: Client) -> None:
    client.update("wels", content="Ada lives in Steyr")
    client.update("wels", tags=["home"])
    history = list(client.revisions("wels"))
    assert [(one.version, one.content) for one in history] == [
        (3, "Ada lives in Steyr"),
        (2, "Ada lives in Steyr"),
        (1, "Ada lives in Wels"),
    ]
    back: Memory = client.restore_revision("wels", 1, expected_version=3)
    assert (back.version, back.content, back.tags, back.supersedes) == (4, "Ada lives in Wels", (), "linz")
    (hit,) = client.recall(ASKED, tiers=["semantic"]).memories
    assert hit.memory.content == "Ada lives in Wels"
    assert len(list(client.revisions("wels"))) == 4, "taking back is a change too"
    with pytest.raises(errors.VersionConflict):
        client.restore_revision("wels", 2, expected_version=3)
    with pytest.raises(errors.NotFound):
        client.restore_revision("wels", 99)


def test_what_was_superseded_can_be_made_valid_again(client: Client) -> None:
    back = client.restore_revision("linz", 1)
    assert (back.valid_to, back.superseded_by, back.content) == (None, "", "Ada lives in Linz")
    assert _seen(client, None) == [{"linz", "wels"}] * 3
