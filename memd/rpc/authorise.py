"""Which right each RPC needs: one rule per full method name.

A method without a rule is refused, and ``tests/test_s1_identity.py`` fails for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from memd.domain.errors import PermissionDenied
from memd.domain.identity import Caller, Right

_RIGHTS: Mapping[str, Mapping[str, Right]] = {
    "MemoryService": {
        "Recall": Right.READ,
        "Observe": Right.WRITE,
        "Remember": Right.WRITE,
        "Forget": Right.WRITE,  # all_users asks for ADMIN as well
        "GetMemory": Right.READ,
        "ListMemories": Right.READ,
        "UpdateMemory": Right.WRITE,
        "ListMemoryRevisions": Right.READ,
        "RestoreMemoryRevision": Right.WRITE,
        "WatchMemories": Right.READ,
    },
    "SessionService": {
        "GetWorkingMemory": Right.READ,
        "ClearWorkingMemory": Right.WRITE,
        "ListEpisodes": Right.READ,
        "ListSessions": Right.READ,
        "EndSession": Right.WRITE,
        "UpdateSessionSettings": Right.WRITE,
    },
    "ProcedureService": {
        "PutProcedure": Right.WRITE,
        "GetProcedure": Right.READ,
        "ListProcedures": Right.READ,
        "DeleteProcedure": Right.WRITE,
        "ReportOutcome": Right.WRITE,
    },
    "CheckpointService": {
        "SaveCheckpoint": Right.WRITE,
        "LoadCheckpoint": Right.READ,
        "ListCheckpoints": Right.READ,
        "DeleteCheckpoint": Right.WRITE,
        "BeginStep": Right.WRITE,
        "RenewStep": Right.WRITE,
        "CompleteStep": Right.WRITE,
        "FailStep": Right.WRITE,
        "ListSteps": Right.READ,
    },
    "AdminService": {
        "GetStats": Right.READ,  # figures of the process ask for ADMIN as well
        "GetNamespaceSettings": Right.READ,
        "UpdateNamespaceSettings": Right.ADMIN,
        "Verify": Right.ADMIN,
        "RunLifecycle": Right.ADMIN,
        "ExportNamespace": Right.ADMIN,
        "ImportNamespace": Right.ADMIN,
        "Backup": Right.ADMIN,
        "Reembed": Right.ADMIN,
    },
}

AUTHORISATION: Mapping[str, Right] = {
    f"/memd.v1.{service}/{method}": right for service, rules in _RIGHTS.items() for method, right in rules.items()
}


def authorise(caller: Caller, method: str) -> None:
    """PermissionDenied unless ``caller`` has the right that ``method`` needs; a method without a rule needs more than
    anybody has."""
    right = AUTHORISATION.get(method)
    if right is None or right not in caller.rights:
        raise PermissionDenied(
            "the credential does not allow this call", metadata={"right": right.value if right else ""}
        )


def require(caller: Caller, right: Right) -> None:
    """PermissionDenied unless ``caller`` has ``right``."""
    if right not in caller.rights:
        raise PermissionDenied(f"this needs the {right.value} right", metadata={"right": right.value})
