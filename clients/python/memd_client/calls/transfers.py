"""Export and import of a namespace: the only calls that stream a file. They are never sent again by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

from memd_client import types as t
from memd_client import wire
from memd_client._proto.v1 import admin_service_pb2 as pb
from memd_client.calls.call import Call

_PIECE_BYTES = 256 * 1024


def export(scope: t.Scope) -> Call[bytes]:
    """A chunk a message, of the whole namespace, whatever else the scope names."""
    request = pb.ExportNamespaceRequest(scope=wire.scope(t.Scope(scope.namespace)))
    return Call("AdminService", "ExportNamespace", request, lambda m: bytes(m.chunk))


def imported(m: pb.ImportNamespaceResponse) -> t.Imported:
    return t.Imported(m.imported, m.skipped, m.forgotten)


def import_requests(scope: t.Scope, chunks: Iterable[bytes], into: str) -> Iterator[pb.ImportNamespaceRequest]:
    yield _first(scope, into)
    for chunk in chunks:
        yield from _pieces(chunk)


async def async_import_requests(
    scope: t.Scope, chunks: AsyncIterable[bytes], into: str
) -> AsyncIterator[pb.ImportNamespaceRequest]:
    yield _first(scope, into)
    async for chunk in chunks:
        for piece in _pieces(chunk):
            yield piece


def _first(scope: t.Scope, into: str) -> pb.ImportNamespaceRequest:
    return pb.ImportNamespaceRequest(scope=wire.scope(t.Scope(scope.namespace)), into=into)


def _pieces(chunk: bytes) -> Iterator[pb.ImportNamespaceRequest]:
    for at in range(0, len(chunk), _PIECE_BYTES):
        yield pb.ImportNamespaceRequest(chunk=chunk[at : at + _PIECE_BYTES])
