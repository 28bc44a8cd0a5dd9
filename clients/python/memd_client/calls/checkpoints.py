"""Calls of the CheckpointService."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from memd_client import parse, wire
from memd_client import types as t
from memd_client._proto.v1 import checkpoint_service_pb2 as pb
from memd_client.calls.call import Call, new_request_id

_call = partial(Call, "CheckpointService")


def save_checkpoint(
    scope: t.Scope,
    task_id: str,
    state: bytes,
    *,
    expected_version: int | None = None,
    ttl: timedelta | None = None,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.Checkpoint]:
    """Store the next version of a task's state and return it, without the state.

    ``expected_version`` is the version last seen (0 for the first save): VersionConflict, with ``current_version``, when
    somebody else saved in between; None overwrites. ``ttl`` (None: 1 h) counts for the whole task from now on.
    """
    request = pb.SaveCheckpointRequest(
        scope=wire.scope(scope),
        task_id=task_id,
        state=state,
        expected_version=expected_version,
        ttl=wire.duration(ttl),
        request_id=new_request_id(request_id),
    )
    return _call(
        "SaveCheckpoint", request, lambda m: parse.checkpoint(m.checkpoint, parse.receipt(m.receipt)), timeout_s
    )


def load_checkpoint(
    scope: t.Scope, task_id: str, *, version: int = 0, timeout_s: float | None = None
) -> Call[t.Checkpoint]:
    """The latest state of a task (0) or one kept version. NotFound when there is none."""
    request = pb.LoadCheckpointRequest(scope=wire.scope(scope), task_id=task_id, version=version)
    return _call("LoadCheckpoint", request, lambda m: parse.checkpoint(m.checkpoint), timeout_s)


def list_checkpoints_page(
    scope: t.Scope, *, task_id: str = "", page_size: int = 0, page_token: str = "", timeout_s: float | None = None
) -> Call[t.Page[t.Checkpoint]]:
    """Kept versions of one task, newest first, or the latest of every task; without the states."""
    request = pb.ListCheckpointsRequest(
        scope=wire.scope(scope), task_id=task_id, page_size=page_size, page_token=page_token
    )

    def page(m: pb.ListCheckpointsResponse) -> t.Page[t.Checkpoint]:
        return t.Page(tuple(map(parse.checkpoint, m.checkpoints)), m.next_page_token)

    return _call("ListCheckpoints", request, page, timeout_s)


def delete_checkpoint(
    scope: t.Scope, task_id: str, *, request_id: str = "", timeout_s: float | None = None
) -> Call[t.Removed]:
    """Delete all versions of a task's state; a later save starts above them."""
    request = pb.DeleteCheckpointRequest(
        scope=wire.scope(scope), task_id=task_id, request_id=new_request_id(request_id)
    )
    return _call(
        "DeleteCheckpoint", request, lambda m: t.Removed(m.versions_deleted, parse.receipt(m.receipt)), timeout_s
    )
