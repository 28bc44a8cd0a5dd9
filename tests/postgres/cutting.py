"""A proxy between memd and Postgres that loses COMMITs: before the server has them, or their replies."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Literal, Self, TypeAlias
from urllib.parse import urlsplit, urlunsplit

Cut: TypeAlias = Literal["before", "after"]
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""As asyncpg sends it: a simple query, always in one piece."""


class Cutter:
    """Serves ``url``. Each of the next commits meets what is first in ``cuts``: the connection is lost ``before`` the
    server saw the COMMIT, or ``after`` it did, and its reply with it."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self.cuts: list[Cut] = []
        self.commits = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        user = self._upstream.netloc.rpartition("@")[0]
        return urlunsplit(self._upstream._replace(netloc=f"{user}@127.0.0.1:{self._port}"))

    async def _serve(self, client: asyncio.StreamReader, reply: asyncio.StreamWriter) -> None:
        server, request = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        answers = asyncio.create_task(_pump(server, reply))
        try:
            while data := await client.read(1 << 16):
                cut = self._next_cut(data)
                if cut == "before":
                    break
                if cut == "after":
                    answers.cancel()
                    await asyncio.wait({answers})
                request.write(data)
                await request.drain()
                if cut == "after":
                    await server.read(1 << 16)  # the server has answered, so it has committed
                    break
        except ConnectionError:
            pass
        finally:
            answers.cancel()
            for writer in (reply, request):
                writer.transport.abort()

    def _next_cut(self, data: bytes) -> Cut | None:
        if _COMMIT not in data:
            return None
        self.commits += 1
        return self.cuts.pop(0) if self.cuts else None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()
