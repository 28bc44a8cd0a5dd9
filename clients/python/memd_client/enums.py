"""The words of the contract; ``UNKNOWN`` stands for a value that a newer daemon sent."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """The four tiers."""

    WORKING = "working"
    EPISODIC = "episodic"
    SEMANTIC = "semantic"
    PROCEDURAL = "procedural"
    UNKNOWN = "unknown"


class TierState(StrEnum):
    """How a tier did in a Recall."""

    OK = "ok"
    DEGRADED = "degraded"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class EventKind(StrEnum):
    """What happened in a session."""

    TURN = "turn"
    TOOL_CALL = "tool_call"
    DECISION = "decision"
    ERROR = "error"
    SUMMARY = "summary"
    """Made by the daemon, in working memory alone."""
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """How a tool call or an attempt ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


class OfferReason(StrEnum):
    """Why a version of a how-to is the one that is offered."""

    NEWEST = "newest"
    FORMER = "former"
    NO_BETTER = "no_better"
    UNKNOWN = "unknown"


class StepState(StrEnum):
    """Where a step of a task stands."""

    RUN = "run"
    COMPLETED = "completed"
    IN_DOUBT = "in_doubt"
    FAILED = "failed"
    LEASED = "leased"
    RETRYABLE = "retryable"
    UNKNOWN = "unknown"


class SourceKind(StrEnum):
    """Where a memory came from."""

    USER = "user"
    AGENT = "agent"
    TOOL = "tool"
    IMPORT = "import"
    DIGEST = "digest"
    UNKNOWN = "unknown"


class Durability(StrEnum):
    """How safe a write was when its reply came."""

    SYNCED = "synced"
    REPLICATED = "replicated"
    SERVER_MEMORY = "server_memory"
    UNKNOWN = "unknown"


class Overflow(StrEnum):
    """What ``observe`` does with an event over the size limit."""

    REFUSE = "refuse"
    EXTRACT = "extract"
    UNKNOWN = "unknown"


class Health(StrEnum):
    """What the daemon says about itself."""

    SERVING = "serving"
    NOT_SERVING = "not_serving"
    UNKNOWN = "unknown"
