"""Typed surface of the Rust core. Every method may be called from any thread. What computes releases the GIL; what is done
in a few tens of microseconds (counting a short text, ``len``, ``applied_seq``) keeps it, because getting it back from a
busy thread can take milliseconds."""

from collections.abc import Mapping, Sequence
from typing import final

__version__: str

def simd_level() -> str:
    """The instruction set the scan kernels use on this machine: ``avx512``, ``avx2`` or ``portable``."""

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
    (a conversation reads oldest to newest although the newest matters most).
    """

    def __init__(self, heading: str, items: Sequence[str], share: float, reverse: bool = False) -> None: ...

@final
class Packed:
    text: str
    tokens: int
    taken: list[list[int]]
    """Per section, the indexes of the items that found room, ascending."""

def pack_context(counter: TokenCounter, sections: Sequence[Section], budget_tokens: int) -> Packed:
    """Markdown sections parted by ``---``; empty ones left out; ``tokens`` is the exact count of ``text`` and never
    exceeds ``budget_tokens``. An item that does not fit is skipped whole, smaller ones after it may still fit."""

@final
class IndexEntry:
    """One memory as the index sees it.

    ``embeddings``: one or more float32 vectors (one per window), little-endian, concatenated; empty for words only.
    ``fields``: UTF-8 JSON object with the filterable fields: ``user_id agent_id session_id source speaker`` (string or
    absent), ``event_time create_time update_time valid_from valid_to expire_time`` (integer microseconds since the epoch
    or absent), ``importance`` (number), ``pinned`` (bool), ``position`` (integer or absent), ``tags`` (list of strings),
    ``metadata`` (flat object of string, number, bool or list of those).
    """

    def __init__(self, memory_id: str, version: int, text: str, embeddings: bytes, fields: bytes) -> None: ...

def default_cues() -> dict[str, float]:
    """Every cue of the ranking with its default weight."""

@final
class RankingOptions:
    """Defaults are the measured ones. Weights 0..1; ``min_relevance`` is a cosine or None for no cut-off.

    ``cues``: weights by name (see ``default_cues``), the others keep their defaults; ValueError for an unknown name.
    ``now_us``: the time of the question, from which "last week" counts; None leaves such words alone.
    Nothing is relevant when the best cosine plus ``nothing_coverage`` times the part of the query's words the best memory
    has is below ``nothing_cosine``.
    """

    def __init__(
        self,
        *,
        limit: int = 5,
        candidates: int = 50,
        vector_weight: float = 0.5,
        trim_ratio: float = 0.35,
        noise_cosine: float = 0.2,
        nothing_cosine: float = 0.42,
        nothing_coverage: float = 0.3,
        min_relevance: float | None = None,
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
        """What each cue gave (or took: ``turn``, ``diversity``) in the scale of ``score``; ``context_words`` and
        ``phrases`` in that of ``word_part``, which contains them."""

@final
class SearchResult:
    hits: list[Hit]
    nothing_relevant: bool
    visible: int
    """How many memories passed the filter."""

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
        self, query: str, embedding: bytes | None, filter: bytes | None, options: RankingOptions
    ) -> SearchResult:
        """``embedding``: one float32 vector, little-endian, or None for words only. ``filter``: UTF-8 JSON, see
        ``memd/domain/filters.py`` for the grammar, None for everything."""
    def matching(self, filter: bytes | None) -> list[str]:
        """Ids of the memories that pass the filter, in insertion order."""
    def versions(self) -> dict[str, int]:
        """Every memory id with its version: what ``Verify`` compares with the rows."""
    def __len__(self) -> int: ...
    def __contains__(self, memory_id: str) -> bool: ...
    @property
    def applied_seq(self) -> int: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def memory_bytes(self) -> int:
        """Estimate of the heap the index holds."""
