"""What memd finds out about events, over a real daemon: extracts at once, links and shared bodies soon after the reply."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memd_client import Client, Event, errors

from memd.limits import MAX_EVENT_BYTES
from tests.daemon import Daemon

WITHIN_S = 60.0
LOG = "\n".join(f"step {n} of 900 went well" for n in range(900))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Daemon(tmp_path) as daemon, Client(daemon.address, user_id="ada", session_id="s") as connected:
        yield connected


def _soon(client: Client, so: Callable[[dict[str, Event]], bool]) -> dict[str, Event]:
    """The session's events by id, once they are ``so``."""
    until = time.monotonic() + WITHIN_S
    while not so(found := {event.event_id: event for event in client.episodes()}):
        assert time.monotonic() < until, "it never was"
        time.sleep(0.02)
    return found


def test_a_long_tool_output_is_an_extract_and_the_reply_says_so(client: Client) -> None:
    told = client.observe(LOG, kind="tool_call", tool_name="build", event_id="cut").events[0]
    whole = client.observe(LOG, kind="tool_call", tool_name="build", event_id="whole", keep_whole=True).events[0]
    assert (told.extracted, whole.extracted) == (True, False)
    events = _soon(client, lambda found: len(found) == 2)
    assert events["cut"].original_sha256 == hashlib.sha256(LOG.encode()).digest()
    assert events["cut"].content.endswith("step 899 of 900 went well")
    assert (events["whole"].content, events["whole"].kept_whole) == (LOG, True)
    huge = "y" * (MAX_EVENT_BYTES + 1)
    assert client.observe(huge, kind="tool_call").events[0].extracted
    for more in ({"keep_whole": True}, {"overflow": "refuse"}):
        with pytest.raises(errors.InvalidArgument, match="content"):
            client.observe(huge, kind="tool_call", **more)


def test_a_failure_is_linked_to_what_resolved_it(client: Client) -> None:
    client.observe("no disk", kind="tool_call", tool_name="deploy", outcome="failure", event_id="f")
    client.observe("rolled out", kind="tool_call", tool_name="deploy", outcome="success", event_id="s")
    events = _soon(client, lambda found: bool(found["f"].resolved_by))
    assert (events["f"].resolved_by, events["s"].resolves) == ("s", "f")
    assert (events["f"].importance_reasons[-1], events["s"].importance_reasons[-1]) == ("resolved", "resolves_error")
    recalled = client.recall("deploy", tiers=["working"]).working
    assert [event.resolved_by for event in recalled] == ["s", ""]


def test_an_output_nearly_like_a_later_one_is_what_differs(client: Client) -> None:
    listing = "\n".join(f"part_{n}.py {n * 91} bytes" for n in range(90))
    client.observe(f"{listing}\ntotal 8", kind="tool_call", tool_name="ls", event_id="a")
    client.observe("and now?", event_id="t")
    client.observe(f"{listing}\ntotal 9", kind="tool_call", tool_name="ls", event_id="b")
    events = _soon(client, lambda found: bool(found["a"].body_event_id))
    assert events["a"].body_event_id == "b"
    assert '"total 8"' in events["a"].content
    assert events["a"].original_bytes == len(listing) + len("\ntotal 8")
    assert events["b"].content == f"{listing}\ntotal 9"
