"""Memories, procedures and settings whose truth is on a server and whose rows are at hand."""

from memd.adapters.replica.follower import Follower
from memd.adapters.replica.stores import (
    ReplicatedMemories,
    ReplicatedProcedures,
    ReplicatedSettings,
    ReplicatedTransfers,
)

__all__ = ["Follower", "ReplicatedMemories", "ReplicatedProcedures", "ReplicatedSettings", "ReplicatedTransfers"]
