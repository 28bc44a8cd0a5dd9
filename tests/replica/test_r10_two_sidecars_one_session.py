"""R10 over digests: two sidecars tell the same sessions, leases are lost at any moment, and every session has one history.

Each version of a digest tells what the one before it told and what came after that, in the order of the session: no event is
told twice, none is left out, and nobody puts an older telling in the place of a newer one.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence

from memd.domain import ids
from memd.domain.model import Memory, Scope
from memd.limits import CONSOLIDATE_LEASE_US, MAX_LINKS
from memd.service.digests import THROUGH
from tests.contract.conftest import ManualClock
from tests.reliability.size import scaled
from tests.replica.conftest import OpenPod
from tests.replica.pod import Pod

HISTORIES = scaled(15)
ROUNDS = 6


async def test_every_digest_has_one_history(open_pod: OpenPod) -> None:
    clock = ManualClock()
    pods = [await open_pod("one", clock), await open_pod("other", clock)]
    late = 0
    for seed in range(HISTORIES):
        scope = Scope("ns", f"user{seed}", "", "s")
        events = await _history(pods, clock, scope, random.Random(seed))
        assert len(events) <= MAX_LINKS, "links would be left out, and nothing could be told from them"
        late += await _check(pods[1], scope, events)
    assert late > HISTORIES, "hardly any digest was made anew"
    for pod in pods:
        assert (await pod.sidecar.verified("ns")).ok


async def _history(pods: Sequence[Pod], clock: ManualClock, scope: Scope, dice: random.Random) -> list[str]:
    """Both are told to digest over and over, while the session goes on and leases run out. Its events in order."""
    running = []
    for number in range(ROUNDS):
        await dice.choice(pods).say(*(f"step {number}.{n} of {scope.user_id} is done" for n in range(10)), scope=scope)
        running += [asyncio.ensure_future(pod.consolidator.digest_once()) for pod in pods]
        for _ in range(dice.randrange(40)):
            await asyncio.sleep(0)
        if dice.random() < 0.5:
            await _lease_runs_out(pods, clock)
    await asyncio.gather(*running)
    await pods[0].ends.end(scope)
    for pod in pods:
        await _lease_runs_out(pods, clock)
        await pod.consolidate()
    policy = await pods[0].sidecar.policy.policy("ns")
    page = await pods[0].sessions.episodes(scope, policy, kinds=frozenset(), size=MAX_LINKS + 1, cursor="")
    return [event.event_id for event in reversed(page.items)]


async def _lease_runs_out(pods: Sequence[Pod], clock: ManualClock) -> None:
    """And the replicas hear of Postgres, as they do all the time."""
    clock.advance(CONSOLIDATE_LEASE_US)
    for pod in pods:
        await pod.sidecar.poll()


async def _check(pod: Pod, scope: Scope, events: Sequence[str]) -> int:
    """How many versions there were."""
    (session,) = (await pod.ends.list(Scope("ns", scope.user_id), size=9)).items
    digest_id = ids.digest_id(scope, session.create_time)
    await pod.stored()
    found = await pod.remember.revisions(scope, digest_id, size=99)
    versions: list[Memory] = list(reversed(found.items))
    assert versions[-1].event_ids == tuple(events)
    assert versions[-1].metadata[THROUGH] == len(events)
    for before, after in itertools.pairwise(versions):
        assert after.event_ids[: len(before.event_ids)] == before.event_ids
        assert after.metadata[THROUGH] > before.metadata[THROUGH]
        assert len(after.event_ids) == after.metadata[THROUGH]
    assert (await pod.marks.undigested(99, events=1, idle_us=0, expires_us=0)).sessions == ()
    return len(versions)
