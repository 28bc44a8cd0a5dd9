"""Namespaces that Postgres itself searches: candidates by HNSW and by stored terms, then memd's own scores.

Postgres finds the candidates of both sides, filters applied, and the turns beside them. They are put into an index of their
own in this process, which is told the figures of the whole namespace, and searched by the code that searches every other
namespace. As the best by words and by vectors are all among them, it finds what an index of the whole would find: but for
what HNSW misses, and words of the query that are misspelt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log

import numpy as np

from memd import _core
from memd.adapters.index import answered
from memd.adapters.postgres.database import Database
from memd.adapters.postgres.filter_sql import FilterSql
from memd.adapters.postgres.search_tables import SearchTables
from memd.adapters.postgres.text import loaded_text
from memd.adapters.postgres.transaction import Reader, Row
from memd.adapters.postgres.vectors import VectorCodec
from memd.adapters.rows.memory import stored_index_row
from memd.domain.errors import NotReady
from memd.domain.filters import Filter
from memd.limits import (
    HNSW_EF_SEARCH,
    HNSW_MAX_SCAN_TUPLES,
    MAX_POSTINGS_A_QUERY,
)
from memd.ports import IndexAnswer, IndexState, SearchOptions

K1, B = 0.9, 0.4
"""As in rust_core (text/lexical.rs), which has the last word: here they only choose candidates."""
FAR, NEAR = 4, 2
"""Turns fetched on each side: of the best of each side, whose neighbours become candidates and have neighbours themselves;
and of the others."""
WITH_NEIGHBOURS = 10
WINDOWS = 2
"""Vectors asked for, per memory wanted: a long text has several."""
_SETTINGS = (
    "SET LOCAL jit = off; SET LOCAL standard_conforming_strings = on; SET LOCAL hnsw.iterative_scan = 'relaxed_order';"
    f" SET LOCAL hnsw.ef_search = {HNSW_EF_SEARCH}; SET LOCAL hnsw.max_scan_tuples = {HNSW_MAX_SCAN_TUPLES};"
)
"""No estimate for a large namespace is to make Postgres compile a plan, which takes longer than a search."""
# How many memories have each word, in the order of the words: as counted by the job, or now.
_STATE = (
    "SELECT s.seq, s.made_pk IS NULL, coalesce(h.seq, 0), s.documents, s.terms,"
    " ARRAY(SELECT coalesce(f.documents, (SELECT count(*) FROM memd.search_term t"
    " WHERE t.namespace = $1 AND t.term = q.term)) FROM unnest($2::text[]) WITH ORDINALITY q (term, place)"
    " LEFT JOIN memd.search_frequency f ON f.namespace = $1 AND f.term = q.term ORDER BY q.place)"
    " FROM memd.search_namespace s LEFT JOIN memd.namespace_head h ON h.namespace = s.namespace WHERE s.namespace = $1"
)
# The namespace is named in every table that is searched: row-level security alone would have all namespaces looked through.
# The filter is looked at from the best down, until enough passed: OFFSET 0 keeps the planner from filtering all first.
_BY_WORDS = (
    "SELECT r.memory_pk FROM (SELECT t.memory_pk,"
    " sum(q.weight * t.occurrences / (t.occurrences + $4::float8 + $5::float8 * t.length)) AS score"
    " FROM unnest($2::text[], $3::float8[]) q (term, weight)"
    " JOIN memd.search_term t ON t.namespace = $1 AND t.term = q.term GROUP BY t.memory_pk"
    " ORDER BY score DESC, t.memory_pk OFFSET 0) r,"
    " LATERAL (SELECT FROM memd.search_memory s WHERE s.memory_pk = r.memory_pk AND {} OFFSET 0) passed"
    " ORDER BY r.score DESC, r.memory_pk LIMIT $6"
)
_SIDE = (
    "(SELECT b.memory_pk FROM memd.search_memory b WHERE b.namespace = $1 AND b.session_id = s.session_id"
    " AND b.session_id <> '' AND b.user_id = s.user_id AND b.agent_id = s.agent_id"
    " AND (b.position, b.memory_pk) {0} (s.position, s.memory_pk)"
    " ORDER BY b.position {1}, b.memory_pk {1} LIMIT c.reach)"
)
# Those found and those beside them, in the order in which they were stored. Their numbers were found in the namespace.
_ROWS = (
    "SELECT m.memory_id, m.version, m.content, m.fields, {} FROM memd.memory m WHERE m.pk = ANY (ARRAY("
    "SELECT unnest($2::bigint[]) UNION SELECT n.memory_pk FROM unnest($2::bigint[], $3::integer[]) c (pk, reach)"
    " JOIN memd.search_memory s ON s.memory_pk = c.pk AND s.namespace = $1 AND s.session_id <> '',"
    f" LATERAL ({_SIDE.format('<', 'DESC')} UNION ALL {_SIDE.format('>', 'ASC')}) n)) ORDER BY m.pk"
)
_WINDOWS = "FROM memd.embedding e WHERE e.memory_pk = m.pk"
_VERSIONS = (
    "SELECT m.memory_id, m.version FROM memd.search_memory s JOIN memd.memory m ON m.pk = s.memory_pk"
    " WHERE s.namespace = $1"
)


@dataclass(frozen=True, slots=True)
class _Figures:
    """Of the whole namespace, as far as the query's terms go."""

    documents: int
    terms: int
    frequencies: Mapping[str, int]

    def weight(self, term: str, count: int) -> float:
        frequency = self.frequencies.get(term, 0)
        total = max(self.documents, frequency)
        return count * log(1 + (total - frequency + 0.5) / (frequency + 0.5))

    @property
    def per_word(self) -> float:
        return K1 * B * max(self.documents, 1) / max(self.terms, 1)


@dataclass(frozen=True, slots=True)
class _Ask:
    namespace: str
    query: str
    embedding: bytes | None
    where: Filter
    options: SearchOptions


@dataclass(frozen=True, slots=True)
class _Found:
    """What Postgres found: rows as _ROWS gives them, all there is of the namespace at change number ``seq``."""

    rows: Sequence[Row]
    figures: _Figures
    seq: int


class PgvectorIndex:
    """Searches the namespaces that ``tables`` was built for; ``SearchMoves`` says when.
    Memories alone: procedures are few, and stay in memory."""

    def __init__(
        self, database: Database, tables: SearchTables, codec: VectorCodec, dimensions: int, readable: str = "true"
    ) -> None:
        """``readable``: SQL that is true while the embeddings in the database are of the queries' model; nothing is searched
        here when it is not any more."""
        self._state = f"{_STATE} AND {readable}"
        self._database = database
        self.tables = tables
        self._codec = codec
        self._dimensions = dimensions

    async def search(
        self, namespace: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        """As ``ports.NamespaceIndex.search``, of kind "memory". NotReady for a namespace that is not searched here."""
        return await asyncio.to_thread(await self.find(namespace, query, embedding, where, options))

    async def find(
        self, namespace: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> Callable[[], IndexAnswer]:
        """What Postgres has to do of a search; what is left is milliseconds of work, and may be done in any thread."""
        ask = _Ask(namespace, query, embedding, where, options)
        found = await self._database.search(namespace, _SETTINGS, lambda reader: self._search(reader, ask, None))
        while not isinstance(found, _Found):
            target = await self.tables.catch_up(namespace, found)
            found = await self._database.search(namespace, _SETTINGS, partial(self._search, ask=ask, target=target))
        return partial(self._ranked, ask, found)

    async def state(self, namespace: str) -> IndexState:
        """What a search would look through now."""
        seq = await self.tables.catch_up(namespace)

        async def operation(reader: Reader) -> dict[str, int]:
            return dict(await reader.rows(_VERSIONS, namespace))

        return IndexState(await self._database.read(namespace, operation), seq, memory_bytes=0)

    async def _search(self, reader: Reader, ask: _Ask, target: int | None) -> _Found | int:
        """Candidates, or the change number that the tables must be taken to first: none less than ``target``, which is
        the newest there is where it is None."""
        words = dict(_core.analyze_batch([ask.query])[0])
        state = await reader.row(self._state, ask.namespace, list(words))
        if state is None or not state[1]:
            raise NotReady("the namespace is not searched by Postgres, or not yet")
        seq, _, head, documents, terms, counts = state
        if seq < (head if target is None else target):
            return int(head)
        frequencies = {word: count for word, count in zip(words, counts, strict=True) if count}
        figures = _Figures(documents, terms, frequencies)
        by_words = await self._by_words(reader, ask, words, figures)
        by_vector = await self._by_vector(reader, ask)
        return _Found(await self._rows(reader, ask.namespace, by_words, by_vector), figures, int(seq))

    async def _by_words(self, reader: Reader, ask: _Ask, words: Mapping[str, int], figures: _Figures) -> list[int]:
        """The best by BM25, of the words that tell most, as many as may be looked through."""
        weights = {word: figures.weight(word, count) for word, count in words.items() if word in figures.frequencies}
        chosen: list[str] = []
        postings = 0
        for word in sorted(weights, key=lambda word: -weights[word]):
            postings += figures.frequencies[word]
            if chosen and postings > MAX_POSTINGS_A_QUERY:
                break
            chosen.append(word)
        if not chosen:
            return []
        sql = FilterSql(7)
        statement = _BY_WORDS.format(sql.translate(ask.where))
        given = (chosen, [weights[word] for word in chosen], K1 * (1 - B), figures.per_word, ask.options.candidates)
        return [row[0] for row in await reader.rows(statement, ask.namespace, *given, *sql.bindings)]

    async def _by_vector(self, reader: Reader, ask: _Ask) -> list[int]:
        """The memories of the nearest windows."""
        if ask.embedding is None:
            return []
        top_k = ask.options.candidates
        hnsw, sql = self.tables.hnsw(ask.namespace), FilterSql(3)
        statement = (
            f"SELECT e.memory_pk FROM memd.embedding e JOIN memd.search_memory s ON s.memory_pk = e.memory_pk"
            f" WHERE e.{hnsw.where} AND s.{hnsw.where} AND {sql.translate(ask.where)}"
            f" ORDER BY e.{hnsw.column[1:-1]} {hnsw.distance} $1::real[]::{self._codec.column_type}({self._dimensions})"
            " LIMIT $2"
        )
        vector: list[float] = np.frombuffer(ask.embedding, "<f4").tolist()
        found = await reader.rows(statement, vector, top_k * WINDOWS, *sql.bindings)
        return list(dict.fromkeys(row[0] for row in found))[:top_k]

    async def _rows(
        self, reader: Reader, namespace: str, by_words: Sequence[int], by_vector: Sequence[int]
    ) -> Sequence[Row]:
        """What was found and what stands beside it."""
        best = {*by_words[:WITH_NEIGHBOURS], *by_vector[:WITH_NEIGHBOURS]}
        found = sorted({*by_words, *by_vector})
        reach = [FAR if pk in best else NEAR for pk in found]
        return await reader.rows(_ROWS.format(self._codec.windows(_WINDOWS)), namespace, found, reach)

    def _ranked(self, ask: _Ask, found: _Found) -> IndexAnswer:
        """By an index of what was found, with the figures of the whole namespace."""
        vectors = self._codec.decode_windows([row[4] for row in found.rows], self._dimensions)
        entries = []
        for (memory_id, version, content, fields, _), embeddings in zip(found.rows, vectors, strict=True):
            row = stored_index_row(memory_id, version, loaded_text(content), embeddings, fields)
            entries.append(_core.IndexEntry(row.entry_id, row.version, row.text, row.embeddings, row.fields))
        core = _core.NamespaceIndex(self._dimensions)
        core.upsert(entries, 0)
        core.set_collection(found.figures.documents, found.figures.terms, found.figures.frequencies)
        return answered(core, ask.query, ask.embedding, ask.where, ask.options, found.seq)
