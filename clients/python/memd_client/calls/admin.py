"""Calls of the AdminService, and of the standard health service."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from memd_client import parse, wire
from memd_client import types as t
from memd_client._proto.v1 import admin_service_pb2 as pb
from memd_client.calls.call import Call, new_request_id
from memd_client.enums import Health

_call = partial(Call, "AdminService")

# grpc.health.v1 numbers its states from 0 in this order.
_HEALTH = (Health.UNKNOWN, Health.SERVING, Health.NOT_SERVING, Health.UNKNOWN)


_FIRST_PROGRESS_S = 60.0
"""The other model is loaded first."""


def stats(scope: t.Scope, *, timeout_s: float | None = None) -> Call[t.Stats]:
    """What the daemon holds and how it is doing."""
    return _call("GetStats", pb.GetStatsRequest(scope=wire.scope(scope)), parse.stats, timeout_s)


def namespace_settings(scope: t.Scope, *, timeout_s: float | None = None) -> Call[t.NamespaceSettings]:
    """Settings of the client's namespace."""
    request = pb.GetNamespaceSettingsRequest(scope=wire.scope(scope))
    return _call("GetNamespaceSettings", request, lambda m: parse.settings(m.settings), timeout_s)


def update_namespace_settings(
    scope: t.Scope,
    *,
    working_max_items: int | None = None,
    working_max_tokens: int | None = None,
    episodic_max_items: int | None = None,
    episodic_ttl: timedelta | None = None,
    checkpoint_history: int | None = None,
    index: str | None = None,
    compress: bool | None = None,
    compress_at: float | None = None,
    compress_keep: int | None = None,
    compress_to: float | None = None,
    summary_share: float | None = None,
    retention_max_age: timedelta | None = None,
    retention_max_count: int | None = None,
    retention_keep_if_pinned: bool | None = None,
    confirm_retention: bool = False,
    expected_version: int = 0,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.NamespaceSettings]:
    """Replace the given settings of the namespace; 0 (``timedelta(0)``, "") goes back to the daemon's. Needs the admin right.

    ``index``: where its memories are searched, "memory" or "pgvector"; it moves in the background.

    ``retention_*``: memories that were last written longer ago, or are too many, are deleted in the background, oldest
    first; pinned ones are neither counted nor deleted unless ``retention_keep_if_pinned`` is False. A policy that takes more
    than half of all memories is ConfirmationNeeded without ``confirm_retention``.

    ``expected_version`` makes it a compare-and-set; 0 does not check.
    """
    request = pb.UpdateNamespaceSettingsRequest(
        scope=wire.scope(scope),
        settings=pb.NamespaceSettings(
            working_max_items=working_max_items,
            working_max_tokens=working_max_tokens,
            episodic_max_items=episodic_max_items,
            episodic_ttl=wire.duration(episodic_ttl),
            checkpoint_history=checkpoint_history,
            index=index,
            compress=compress,
            compress_at=compress_at,
            compress_keep=compress_keep,
            compress_to=compress_to,
            summary_share=summary_share,
            retention_max_age=wire.duration(retention_max_age),
            retention_max_count=retention_max_count,
            retention_keep_if_pinned=retention_keep_if_pinned,
        ),
        confirm_retention=confirm_retention,
        expected_version=expected_version,
        request_id=new_request_id(request_id),
    )
    return _call(
        "UpdateNamespaceSettings", request, lambda m: parse.settings(m.settings, parse.receipt(m.receipt)), timeout_s
    )


def backup(scope: t.Scope, name: str, *, timeout_s: float | None = None) -> Call[t.Backup]:
    """Copy the whole store, all namespaces, to the directory ``backups`` of the daemon's data directory. Needs the admin
    right. AlreadyExists when there is a backup of that name."""

    def made(m: pb.BackupResponse) -> t.Backup:
        return t.Backup(name, m.bytes, wire.moment(m.backup_time), tuple(m.not_included))

    return _call("Backup", pb.BackupRequest(scope=wire.scope(scope), name=name), made, timeout_s)


def reembed(scope: t.Scope, model: str = "", *, cancel: bool = False) -> Call[t.ReembedProgress]:
    """A message each time there is something to tell."""
    request = pb.ReembedRequest(scope=wire.scope(scope), embedding_model=model, cancel=cancel)
    return _call("Reembed", request, parse.reembedding, _FIRST_PROGRESS_S)


def run_lifecycle(
    scope: t.Scope,
    job: str = "",
    *,
    dry_run: bool = False,
    retention_max_age: timedelta | None = None,
    retention_max_count: int | None = None,
    retention_keep_if_pinned: bool | None = None,
    timeout_s: float | None = None,
) -> Call[t.LifecycleRun]:
    """Run a bounded step of a background job now, of all of them when "". ``dry_run``: only count what is due, not for
    sweep; of "retention" in the client's namespace, as if the given ``retention_*`` were set. Needs the admin right."""
    what_if = pb.NamespaceSettings(
        retention_max_age=wire.duration(retention_max_age),
        retention_max_count=retention_max_count,
        retention_keep_if_pinned=retention_keep_if_pinned,
    )
    request = pb.RunLifecycleRequest(
        scope=wire.scope(scope), job=job, dry_run=dry_run, settings=what_if if what_if.ListFields() else None
    )

    def ran(m: pb.RunLifecycleResponse) -> t.LifecycleRun:
        return t.LifecycleRun(m.examined, m.changed, tuple(m.memory_ids))

    return _call("RunLifecycle", request, ran, timeout_s)


def verify(scope: t.Scope, *, timeout_s: float | None = None) -> Call[t.Verification]:
    """Compare the daemon's index with its rows."""
    return _call("Verify", pb.VerifyRequest(scope=wire.scope(scope)), parse.verification, timeout_s)


def health(_scope: t.Scope, service: str = "", *, timeout_s: float | None = None) -> Call[Health]:
    """Whether the daemon (or one of its services) serves now."""

    def state(m: Int32Value) -> Health:
        return _HEALTH[m.value] if 0 <= m.value < len(_HEALTH) else Health.UNKNOWN

    # The wrappers have the wire form of HealthCheckRequest and HealthCheckResponse: one string, one enum, field 1.
    return Call("Health", "Check", StringValue(value=service), state, timeout_s)
