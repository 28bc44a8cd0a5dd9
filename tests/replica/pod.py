"""A sidecar with sessions in Redis and the truth in Postgres, in this process: what consolidates, sweeps and forgets."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from memd._core import TokenCounter
from memd.adapters.pack import RustContextPacker
from memd.adapters.redis import RedisLink, RedisSessionMarks, RedisSessions, RedisSettings
from memd.adapters.summarize.extractive import ExtractiveSummarizer
from memd.domain.model import Event, EventKind, Memory, Scope, SourceKind, TierName
from memd.domain.settings import DEFAULT_TIERS
from memd.domain.visibility import EVERYTHING
from memd.limits import CONSOLIDATE_GRACE_US, MAX_REDIS_TIMEOUT_S
from memd.ports import Clock, SessionMarks, SessionStore
from memd.service.consolidation import Consolidator
from memd.service.forget import ForgetService
from memd.service.lifecycle import ExpirySweeper
from memd.service.merging import NearDuplicates
from memd.service.observe import UNSCORED, ObserveService
from memd.service.recall import RecallReply, RecallRequest, RecallService
from memd.service.remember import RememberService
from memd.service.sessions import SessionService
from memd.tasks import survives
from memd.tiers.episodic import EpisodicTier
from memd.tiers.shared import RecentOnce
from tests.contract.builders import MODEL
from tests.reliability.stack import HashEmbedder, vector
from tests.replica.sidecar import Sidecar

T = TypeVar("T")
ADA = Scope("ns", "ada", "", "s1")


def _small(text: str) -> bytes:
    """The same for the same words, whatever stands between them."""
    numbers = struct.unpack_from("<4f", vector(" ".join(re.findall(r"\w+", text.casefold()))))
    length = sum(number * number for number in numbers) ** 0.5
    return struct.pack("<4f", *(number / length for number in numbers))


@dataclass
class Pod:
    """Nothing runs by itself: a test says when."""

    sidecar: Sidecar
    link: RedisLink
    sessions: SessionStore
    marks: SessionMarks
    observe: ObserveService
    remember: RememberService
    forget: ForgetService
    ends: SessionService
    recall: RecallService
    consolidator: Consolidator
    duplicates: NearDuplicates
    sweeper: ExpirySweeper

    @classmethod
    async def open(
        cls,
        postgres_url: str,
        redis_url: str,
        data_dir: Path,
        clock: Clock,
        holder: str,
        *,
        all_on_postgres: bool = False,
    ) -> Pod:
        """``all_on_postgres``: sessions too; Redis then has nothing to do."""
        sidecar = await Sidecar.open(postgres_url, data_dir, clock=clock, server_clock=clock)
        link = await RedisLink.open(RedisSettings(redis_url, timeout_s=MAX_REDIS_TIMEOUT_S), clock)
        in_redis = RedisSessions(link)
        sessions: SessionStore = sidecar.postgres.sessions if all_on_postgres else in_redis
        marks: SessionMarks = sidecar.postgres.marks if all_on_postgres else RedisSessionMarks(in_redis)
        marks.spare(CONSOLIDATE_GRACE_US)
        counter, embedder, memories = TokenCounter(), HashEmbedder(MODEL, _small), sidecar.memories
        remember = RememberService(memories, embedder, sidecar.settings, sidecar.policy, clock)
        summarizer, leases = ExtractiveSummarizer(counter), sidecar.postgres.leases
        found = sidecar.index, embedder
        consolidator = Consolidator(
            marks, memories, remember, *found, summarizer, leases, clock, holder, sessions=sessions
        )
        tasks, steps = sidecar.postgres.tasks, sidecar.postgres.steps
        episodic = EpisodicTier(RecentOnce(sessions), memories, DEFAULT_TIERS[TierName.EPISODIC], counter)
        return cls(
            sidecar=sidecar,
            link=link,
            sessions=sessions,
            marks=marks,
            observe=ObserveService(sessions, counter, sidecar.policy, clock),
            remember=remember,
            forget=ForgetService(memories, sessions, tasks, steps, sidecar.settings),
            ends=SessionService(sessions, sidecar.policy),
            recall=RecallService([episodic], RustContextPacker(counter), sidecar.policy, clock),
            consolidator=consolidator,
            duplicates=NearDuplicates(memories, *found, sidecar.local.memories.namespaces, leases, clock, holder),
            sweeper=ExpirySweeper(
                sessions, memories, tasks, steps, partial(survives, "consolidate expired", consolidator.drain_expired)
            ),
        )

    async def close(self) -> None:
        await self.consolidator.close()
        await self.link.close()
        await self.sidecar.close()

    async def say(self, *said: str | Event, scope: Scope = ADA) -> None:
        events = [
            one if isinstance(one, Event) else Event("", EventKind.TURN, one, role="user", importance=UNSCORED)
            for one in said
        ]
        await self.observe.observe(scope, events)

    async def consolidate(self) -> int:
        """Both jobs, until there is nothing left that is due."""
        total = 0
        while done := await self.consolidator.promote_once() + await self.consolidator.digest_once():
            total += done
        return total

    async def stored(self, namespace: str = "ns") -> list[Memory]:
        """Every memory of the truth, as far as the replica has been told."""
        await self.sidecar.memories.ready(namespace)
        await self.sidecar.poll()
        return list((await self.sidecar.memories.page(namespace, EVERYTHING, size=1_000, cursor="")).items)

    async def digests(self) -> list[Memory]:
        return [one for one in await self.stored() if one.source is SourceKind.DIGEST]

    async def ask(self, query: str, scope: Scope) -> RecallReply:
        return await self.recall.recall(RecallRequest(scope, query), 10.0)
