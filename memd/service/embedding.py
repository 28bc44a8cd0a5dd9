"""Embedding what a request brings: a text the model cannot take is refused under the name of its field."""

from __future__ import annotations

from collections.abc import Sequence

from memd.domain.errors import InvalidArgument
from memd.ports import Embedder


async def embedded(embedder: Embedder, texts: Sequence[str], fields: Sequence[str]) -> list[tuple[bytes, ...]]:
    """One embedding a window of each text; ``fields`` are the dotted paths of the texts in the request."""
    try:
        return await embedder.memories(texts)
    except InvalidArgument as exc:
        field = fields[int(exc.metadata.get("text", "0"))]
        raise InvalidArgument(f"{field}: {exc.message}", field=field) from exc
