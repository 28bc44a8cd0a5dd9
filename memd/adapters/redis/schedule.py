"""When to look at what: names by the time something of theirs may have expired, for the sweep."""

from __future__ import annotations

from collections.abc import Sequence

from memd.adapters.redis import keys, scripts
from memd.adapters.redis.link import RedisLink

NO_LIMIT = 1 << 53
"""Of names in an index that is not bounded by itself."""


class Schedule:
    def __init__(self, link: RedisLink, key: str) -> None:
        self._link = link
        self._key = key

    async def add(self, name: str, later_us: int) -> None:
        """Look at ``name`` that much later than now, and not before, whatever was planned."""
        await self._link.run(scripts.REGISTER, [self._key], self._link.now(), name, later_us, NO_LIMIT)

    async def due(self, most: int) -> list[tuple[tuple[str, ...], int]]:
        """Parts of each name, and the time it was due."""
        found = await self._link.run(scripts.DUE, [self._key], self._link.now(), most)
        return [(keys.split(name.decode()), int(at)) for name, at in zip(found[::2], found[1::2], strict=True)]

    async def page(self, rank: int, most: int) -> list[tuple[str, ...]]:
        """Parts of names from the ``rank``-th on, due or not."""
        names = await self._link.command("ZRANGE", self._key, rank, rank + most - 1)
        return [keys.split(name.decode()) for name in names]

    async def looked(self, seen: Sequence[tuple[tuple[str, ...], int, int]]) -> None:
        """Parts, the time it was due, when to look again (0: never). What was added again meanwhile stays."""
        args: list[str | int] = []
        for parts, at, again in seen:
            args += [keys.joined(*parts), at, again or ""]
        if args:
            await self._link.run(scripts.RESCHEDULE, [self._key], *args)


def fitting(sizes: Sequence[int], room: int, at_least_one: bool) -> int:
    """How many, from the first, have no more than ``room`` rows together."""
    taken = fit = 0
    for size in sizes:
        taken += size
        if taken > room and not (at_least_one and fit == 0):
            break
        fit += 1
    return fit
