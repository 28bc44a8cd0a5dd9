"""Embeddings as Postgres keeps them: ``halfvec`` of pgvector, or ``bytea`` of float32 little-endian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

HALFVEC_HEADER_BYTES = 4
"""Of halfvec's binary form: the dimensions and a reserved number, two bytes each; then float16 big-endian."""


@dataclass(frozen=True, slots=True)
class VectorCodec:
    """``column_type`` is the qualified ``halfvec``, or "bytea". Embeddings are float32 little-endian bytes; halfvec keeps
    11 significant bits of each number."""

    column_type: str

    @property
    def half(self) -> bool:
        return self.column_type != "bytea"

    def parameter(self, position: int) -> str:
        """SQL of a statement's parameter that ``encode`` was used for."""
        return f"${position}::real[]::{self.column_type}" if self.half else f"${position}::bytea"

    def encode(self, embedding: bytes) -> bytes | list[float]:
        if not self.half:
            return embedding
        numbers: list[float] = np.frombuffer(embedding, "<f4").tolist()
        return numbers

    def column(self, name: str) -> str:
        """SQL that gives the column's binary form."""
        schema = self.column_type.rpartition(".")[0]
        return f"{schema}.halfvec_send({name})" if self.half else name

    def decode(self, stored: bytes) -> bytes:
        if not self.half:
            return stored
        return np.frombuffer(stored, ">f2", offset=HALFVEC_HEADER_BYTES).astype("<f4").tobytes()

    def kept(self, embedding: bytes) -> bytes:
        """What ``decode`` will give of it."""
        return np.frombuffer(embedding, "<f4").astype("<f2").astype("<f4").tobytes() if self.half else embedding

    def pack(self, embeddings: Sequence[bytes]) -> tuple[int, list[bytes] | list[float]]:
        """Embeddings of one length as two parameters: the numbers of each, and all of them in a row."""
        if not self.half:
            return 0, list(embeddings)
        numbers: list[float] = np.frombuffer(b"".join(embeddings), "<f4").tolist()
        return len(embeddings[0]) // 4 if embeddings else 0, numbers

    def packed(self, number: str, first: int) -> str:
        """SQL of embedding ``number`` (SQL of an integer from 1) where ``pack`` gave the parameters from ``first`` on."""
        if not self.half:  # the first has to be used for its type to be known
            return f"CASE WHEN ${first}::integer = 0 THEN (${first + 1}::bytea[])[{number}] END"
        start = f"({number} - 1) * ${first}::integer"
        return f"((${first + 1}::real[])[{start} + 1 : {start} + ${first}::integer])::{self.column_type}"

    def windows(self, select: str) -> str:
        """SQL of the vectors of all windows ``select`` ("FROM ... WHERE ...", alias e) has, put together in order."""
        schema = self.column_type.rpartition(".")[0]
        return f"(SELECT string_agg({schema}.halfvec_send(e.vector), ''::bytea ORDER BY e.position) {select})"

    def decode_windows(self, stored: Sequence[bytes | None], dimensions: int) -> list[bytes]:
        """Of each what ``windows`` gave, its embeddings one after the other; all at once, since each turn of numpy's costs
        more than the numbers of a window do."""
        width = HALFVEC_HEADER_BYTES // 2 + dimensions
        numbers = np.frombuffer(b"".join(one for one in stored if one), ">f2").reshape(-1, width)
        plain = numbers[:, HALFVEC_HEADER_BYTES // 2 :].astype("<f4")
        ends = np.cumsum([len(one or b"") // (2 * width) for one in stored]).tolist()
        return [plain[start:end].tobytes() for start, end in pairwise([0, *ends])]
