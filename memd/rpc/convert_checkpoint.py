"""Checkpoints."""

from __future__ import annotations

from memd_client._proto.v1 import checkpoint_service_pb2 as cs

from memd.domain.model import Checkpoint
from memd.rpc.convert_common import timestamp


def checkpoint(value: Checkpoint) -> cs.Checkpoint:
    return cs.Checkpoint(
        task_id=value.task_id,
        version=value.version,
        state=value.state,
        size_bytes=value.size_bytes,
        sha256=value.sha256,
        create_time=timestamp(value.create_time),
        expire_time=timestamp(value.expire_time),
    )
