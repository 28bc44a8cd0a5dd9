"""What a Forget has done in one store, told as it goes: interrupted and asked again, it goes on counting."""

from __future__ import annotations

from collections.abc import Mapping

from memd.adapters.redis import keys
from memd.adapters.redis.link import RedisLink
from memd.limits import REDIS_RECEIPT_TTL_US

_DONE = b"done"


class Receipt:
    def __init__(self, link: RedisLink, namespace: str, store: str, receipt_id: str, kinds: tuple[str, ...]) -> None:
        self._link = link
        self._key = keys.receipt(namespace, store, receipt_id)
        self._kinds = kinds

    async def result(self) -> Mapping[str, int] | None:
        """The counts of a Forget that is done."""
        stored = await self._stored()
        return self._counts(stored) if _DONE in stored else None

    async def add(self, counts: Mapping[str, int]) -> None:
        # Not counted twice where a reply is lost: a count that is a little low is better than one that is too high.
        for kind, count in counts.items():
            if count:
                await self._link.command("HINCRBY", self._key, kind, count, repeatable=False)

    async def done(self) -> Mapping[str, int]:
        await self._link.command("HSET", self._key, _DONE, 1)
        await self._link.command("PEXPIRE", self._key, REDIS_RECEIPT_TTL_US // 1_000)
        return self._counts(await self._stored())

    async def _stored(self) -> Mapping[bytes, bytes]:
        stored: Mapping[bytes, bytes] = await self._link.command("HGETALL", self._key)
        return stored

    def _counts(self, stored: Mapping[bytes, bytes]) -> Mapping[str, int]:
        return {kind: int(stored.get(kind.encode(), 0)) for kind in self._kinds}
