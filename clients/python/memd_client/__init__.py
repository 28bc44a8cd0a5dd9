"""Client of memd, a memory daemon for AI agents: ``Client`` (sync) and ``AsyncClient`` (asyncio), one set of methods.

See the README for a tour, ``memd_client.types`` for what comes back and ``memd_client.errors`` for what is raised.
"""

from memd_client import errors
from memd_client.aio import AsyncClient
from memd_client.client import Client
from memd_client.enums import (
    Durability,
    EventKind,
    Health,
    Outcome,
    Overflow,
    SourceKind,
    StepState,
    Tier,
    TierState,
)
from memd_client.errors import MemdError
from memd_client.filters import Expr, F
from memd_client.retry import RetryPolicy
from memd_client.step_flow import Doubt, Happened, NotDone, StepFailed, StepInDoubt
from memd_client.tasks import AsyncResumableTask, ResumableTask
from memd_client.types import (
    KEEP,
    Backup,
    Checkpoint,
    Event,
    ForgetReceipt,
    Memory,
    MemoryChange,
    MemoryHit,
    NamespaceSettings,
    NewMemory,
    Observed,
    Page,
    Position,
    Procedure,
    Recall,
    Remembered,
    Removed,
    Scope,
    Session,
    Stats,
    Step,
    StoredProcedure,
    TierStatus,
    Verification,
    WorkingMemory,
    WriteReceipt,
)
from memd_client.watch import AsyncWatch, Watch

__all__ = [
    "KEEP",
    "AsyncClient",
    "AsyncResumableTask",
    "AsyncWatch",
    "Backup",
    "Checkpoint",
    "Client",
    "Doubt",
    "Durability",
    "Event",
    "EventKind",
    "Expr",
    "F",
    "ForgetReceipt",
    "Happened",
    "Health",
    "MemdError",
    "Memory",
    "MemoryChange",
    "MemoryHit",
    "NamespaceSettings",
    "NewMemory",
    "NotDone",
    "Observed",
    "Outcome",
    "Overflow",
    "Page",
    "Position",
    "Procedure",
    "Recall",
    "Remembered",
    "Removed",
    "ResumableTask",
    "RetryPolicy",
    "Scope",
    "Session",
    "SourceKind",
    "Stats",
    "Step",
    "StepFailed",
    "StepInDoubt",
    "StepState",
    "StoredProcedure",
    "Tier",
    "TierState",
    "TierStatus",
    "Verification",
    "Watch",
    "WorkingMemory",
    "WriteReceipt",
    "errors",
]
