"""Typed surface of the Rust core. Every method may be called from any thread. What computes releases the GIL; what is done
in a few tens of microseconds (counting a short text, ``len``, ``applied_seq``) keeps it, because getting it back from a
busy thread can take milliseconds."""

import os
from collections.abc import Mapping, Sequence
from typing import final

__version__: str

def simd_level() -> str:
    """The instruction set the scan kernels use on this machine: ``avx512``, ``avx2`` or ``portable``."""

def give_back_memory() -> None:
    """Give what the allocator holds and nobody uses back to the system. Takes milliseconds; any thread."""

@final
class TokenCounter:
    """Exact byte-pair token counts. ``encoding`` is ``o200k_base`` or ``cl100k_base``; ValueError otherwise."""

    def __init__(self, encoding: str = "o200k_base") -> None: ...
    @property
    def encoding(self) -> str: ...
    def count(self, text: str) -> int: ...
    def count_batch(self, texts: Sequence[str]) -> list[int]: ...
    def vocabulary(self) -> dict[bytes, int]:
        """Token bytes to rank, without special tokens: lets tests and benches build the same encoding elsewhere."""

@final
class Section:
    """One part of a context block. ``items`` stand in order of preference (best or newest first).

    ``share`` is the part of the budget (0..1) the section may take before the others have had theirs; what all sections
    leave over is handed out again in the order the sections are given. ``reverse`` shows the items last-preferred first
    (a conversation reads oldest to newest although the newest matters most). ``divisible`` are the places of items that are
    ``- label: sentences``, newest last: where one does not fit, its newest sentences are shown.
    """

    def __init__(
        self,
        heading: str,
        items: Sequence[str],
        share: float,
        reverse: bool = False,
        divisible: Sequence[int] | None = None,
    ) -> None: ...
    def count(self, counter: TokenCounter) -> None:
        """Count it now and remember that, so that packing it with ``counter`` has less to do."""

@final
class Packed:
    text: str
    tokens: int
    taken: list[list[int]]
    """Per section, the indexes of the items that found room, ascending."""

def pack_context(counter: TokenCounter, sections: Sequence[Section], budget_tokens: int) -> Packed:
    """Markdown sections parted by ``---``; empty ones left out; ``tokens`` is the exact count of ``text`` and never
    exceeds ``budget_tokens``. An item that does not fit is skipped whole unless it is divisible, smaller ones after it may
    still fit."""

def extract_sentences(
    counter: TokenCounter, sentences: Sequence[tuple[str, int, float]], labels: Sequence[str], max_tokens: int
) -> str:
    """The sentences most worth keeping in at most ``max_tokens``, in their order, one line for each label that has something
    left. A sentence is its text, the place of its label, and what it is worth apart from how central and how new it is; those
    of one label stand together.
    ValueError for a label that is not there and a worth that is no finite number."""

@final
class IndexEntry:
    """One memory as the index sees it.

    ``embeddings``: one or more float32 vectors (one per window), little-endian, concatenated; empty for words only.
    ``fields``: UTF-8 JSON object with the filterable fields: ``user_id agent_id session_id source speaker`` (string or
    absent; ``supersedes superseded_by`` too, for the ranking: a filter may not name them), ``event_time create_time
    update_time valid_from valid_to expire_time`` (integer microseconds since the epoch or absent), ``importance`` (number),
    ``pinned`` (bool), ``position`` (integer or absent), ``tags`` (list of strings),
    ``metadata`` (flat object of string, number, bool or list of those).
    """

    def __init__(self, memory_id: str, version: int, text: str, embeddings: bytes, fields: bytes) -> None: ...

def analyze_batch(texts: Sequence[str]) -> list[list[tuple[str, int]]]:
    """The terms of each text as the index counts them (lower case, stemmed, without stop words), each once with how often
    it occurs, in order of first occurrence."""

def default_cues() -> dict[str, float]:
    """Every cue of the ranking with its default weight."""

def default_nothing() -> tuple[float, float]:
    """``nothing_cosine`` and ``nothing_coverage`` of RankingOptions when they are not given."""

@final
class RankingOptions:
    """Defaults are the measured ones. Weights 0..1; ``min_relevance`` is a cosine or None for no cut-off.

    ``cues``: weights by name (see ``default_cues``), the others keep their defaults; ValueError for an unknown name.
    ``now_us``: the time of the question, from which "last week" counts; None leaves such words alone.
    Nothing is relevant when the best cosine plus ``nothing_coverage`` times the part of the query's words the best memory
    has is below ``nothing_cosine``; None takes ``default_nothing``.

    How thoroughly vectors are looked for: ``ef`` is the number of candidates a walk over the graph keeps (1 to 2**20; None
    leaves it to the index, which aims at a recall of .98); ``exact`` looks at every visible vector.
    """

    def __init__(
        self,
        *,
        limit: int = 5,
        candidates: int = 50,
        vector_weight: float = 0.5,
        trim_ratio: float = 0.35,
        noise_cosine: float = 0.2,
        nothing_cosine: float | None = None,
        nothing_coverage: float | None = None,
        min_relevance: float | None = None,
        ef: int | None = None,
        exact: bool = False,
        cues: Mapping[str, float] | None = None,
        now_us: int | None = None,
    ) -> None: ...

@final
class Hit:
    memory_id: str
    version: int
    score: float
    """Fused score 0..1, comparable within one reply only."""
    relevance: float
    """Cosine of the query and the best window, -1..1; 0 when either has no embedding."""
    bm25: float
    vector_part: float
    word_part: float
    matched_terms: int
    def cues(self) -> dict[str, float]:
        """What each cue gave (or took: ``turn``, ``diversity``) in the scale of ``score``; ``context_words``,
        ``phrases`` and ``names`` in that of ``word_part``, which contains them; ``versions`` is within both parts."""

@final
class SearchResult:
    hits: list[Hit]
    nothing_relevant: bool
    visible: int
    """How many memories passed the filter."""

class SnapshotStale(Exception):
    """The snapshot is of another format, model, size of vectors or kind: build the index from the rows and save over it."""

class SnapshotCorrupt(Exception):
    """The snapshot is not what was written: put the file aside and build the index from the rows."""

@final
class PreparedSearch:
    """A search that waits for its embedding; only the index that made it can finish it, as often as asked."""

@final
class NamespaceIndex:
    """Vectors, words and filterable fields of one namespace, kept in step. Searches run concurrently with each other.

    Raises ValueError for a vector of the wrong size or with NaN or infinity, for malformed ``fields`` and for a filter
    with an unknown operator or field; nothing is applied when one entry of a batch is bad.
    """

    def __init__(self, dimensions: int) -> None: ...
    def upsert(self, entries: Sequence[IndexEntry], applied_seq: int) -> None:
        """Add or replace; ``applied_seq`` becomes the watermark if it is larger."""
    def remove(self, memory_ids: Sequence[str], applied_seq: int) -> int:
        """How many were there."""
    def search(
        self,
        query: str,
        embedding: bytes | None,
        filter: bytes | None,
        options: RankingOptions,
        versions: bytes | None = None,
    ) -> SearchResult:
        """``embedding``: one float32 vector, little-endian, or None for words only. ``filter``: UTF-8 JSON, see
        ``memd/domain/filters.py`` for the grammar, None for everything. ``versions``: a filter too: which memories that do
        not pass ``filter`` may lend their evidence to one that does and that superseded them, or that they superseded."""
    def prepare(
        self, query: str, filter: bytes | None, options: RankingOptions, versions: bytes | None = None
    ) -> PreparedSearch:
        """The half of ``search`` that needs no embedding, for the time in which that is made."""
    def finish(self, prepared: PreparedSearch, embedding: bytes | None) -> SearchResult:
        """What ``search`` finds now: changes since ``prepare`` are seen."""
    def matching(self, filter: bytes | None) -> list[str]:
        """Ids of the memories that pass the filter, in insertion order."""
    def versions(self) -> dict[str, int]:
        """Every memory id with its version: what ``Verify`` compares with the rows."""
    def set_collection(self, documents: int, total_length: int, frequencies: Mapping[str, int]) -> None:
        """Weigh words as in a larger collection that the memories here are a part of: how many texts, how many terms in all
        of them (repeats counted), and of each term that is asked for the number of texts that have it. Not saved."""
    def maintain(self, max_rows: int, threads: int) -> int:
        """Keep vector search fast: link at most ``max_rows`` vectors that wait for it, and look at no more for repair around
        removed ones, in ``threads`` threads (1 to 64). Returns how much is left: to be called behind the requests until it is
        0. Searches and changes go on meanwhile; nothing is to be done for an index of few vectors."""
    def save(self, path: str | os.PathLike[str], model: str, kind: str, watermark: int) -> None:
        """Replace the file by a snapshot, on disk when this returns; whatever happens, the path names the old file or the
        new one. Two saves may run at once; the later one stays.

        ``watermark``: a change number the index has surely applied (read it before the call). ``model`` is the digest of
        what made the vectors, ``kind`` which index of a namespace this is: both at most 1,024 bytes, ValueError over it.
        Takes as much memory as the file is large. Changes, and searches that come after a waiting change, wait while the
        index is copied (not while the copy is written). A file left by a crash is called ``NAME.*.tmp``; nobody reads it,
        so it may be deleted while nobody saves. OSError when the system refuses; RuntimeError for a broken index.
        """
    @staticmethod
    def load(path: str | os.PathLike[str], model: str, dimensions: int, kind: str) -> tuple[NamespaceIndex, int]:
        """The index of a file, and its watermark: later changes must be applied again. Nothing in the file is believed
        before it is checked.

        FileNotFoundError when there is none, SnapshotStale when it is of something else than asked for, SnapshotCorrupt
        when it is damaged, another OSError when the system refuses, ValueError for ``dimensions`` out of bounds.
        """
    def __len__(self) -> int: ...
    def __contains__(self, memory_id: str) -> bool: ...
    @property
    def applied_seq(self) -> int: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def memory_bytes(self) -> int:
        """Estimate of the heap the index holds."""
    @property
    def memory_parts(self) -> dict[str, int]:
        """The same by what it is for: ``vectors`` (codes and links), ``ids``, ``words``, ``fields``."""

@final
class VectorIndex:
    """The vector index by itself, as ``benches.index`` measures it beside other libraries.

    Vectors are little-endian float32, slots little-endian uint32. ValueError for a vector of the wrong size or with NaN or
    infinity, and for numbers out of bounds.
    """

    def __init__(self, dimensions: int) -> None: ...
    def add(self, slots: bytes, vectors: bytes) -> None:
        """One vector for each slot, replacing what it had."""
    def build(self, threads: int) -> None:
        """Link everything that was added; up to 16,384 vectors are scanned instead."""
    def search(self, query: bytes, k: int, ef: int, visible: bytes | None, exact: bool) -> list[tuple[int, float]]:
        """Slots and cosines, best first. ``ef`` 0 leaves it to the index. ``visible``: slot n is bit n % 8, lowest first, of
        byte n // 8; None for all."""
    def search_times_ns(self, queries: bytes, k: int, ef: int) -> list[int]:
        """Nanoseconds of each search, timed around the call of the core. ``ef`` 0: exact."""
    def remove(self, slots: bytes) -> int:
        """How many of them had a vector."""
    def maintain(self, threads: int = 1) -> None:
        """Link what was added and repair around what was removed, until nothing is left to do."""
    @property
    def memory_bytes(self) -> int:
        """Estimate of the heap the index holds."""
    def save(self, path: str | os.PathLike[str]) -> None: ...
    def load(self, path: str | os.PathLike[str]) -> None:
        """Become the saved index. Exceptions as ``NamespaceIndex.load``."""
