"""``memd lifecycle``."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from memd_client import Client, JobStats, LifecycleRun

from memd.cli.connect import connected
from memd.cli.errors import USAGE_ERROR, CommandError
from memd.cli.flags import VERIFY_TIMEOUT_S
from memd.cli.output import note, print_fields, print_json, print_table, printable
from memd.cli.values import retention


def run(args: argparse.Namespace) -> int:
    """Run a step of one job, or of all of them, in the daemon; or print how they are doing."""
    what_if = retention(args)
    _check(args, bool(what_if))
    with connected(args, timeout_s=VERIFY_TIMEOUT_S) as client:
        if args.action == "status":
            return _status(client, args)
        ran = client.run_lifecycle(args.job, dry_run=args.dry_run, **what_if)
    if args.json:
        print_json(ran)
    else:
        _show(ran, args)
    return 0


def _check(args: argparse.Namespace, what_if: bool) -> None:
    if args.action == "status" and (args.job or args.dry_run or what_if):
        raise CommandError("status takes no job and no other flags", USAGE_ERROR)
    if what_if and not (args.dry_run and args.job == "retention"):
        raise CommandError(
            "--max-age, --max-count and --keep-if-pinned go with `run retention --dry-run`; `memd namespace set` sets them",
            USAGE_ERROR,
        )


def _show(ran: LifecycleRun, args: argparse.Namespace) -> None:
    print_fields({"examined": f"{ran.examined:,}", "changed": f"{ran.changed:,}"})
    for memory_id in ran.memory_ids:
        print(printable(memory_id))
    if len(ran.memory_ids) < ran.examined and ran.memory_ids:
        note(f"the oldest {len(ran.memory_ids):,} of {ran.examined:,} memories that would be deleted")


def _status(client: Client, args: argparse.Namespace) -> int:
    jobs = client.stats().jobs
    if args.json:
        print_json(jobs)
        return 0
    if not jobs:
        raise CommandError("the jobs of a daemon are told with the admin right alone")
    now = datetime.now(UTC)
    head = ("job", "last run", "took", "runs", "done", "waiting", "failures", "next", "last error")
    print_table(head, [_row(job, now) for job in jobs])
    return 0


def _row(job: JobStats, now: datetime) -> tuple[str, ...]:
    ran = job.last_time is not None
    return (
        job.job,
        f"{_span(now - job.last_time)} ago" if job.last_time is not None else "never",
        _span(job.last_duration) if ran else "-",
        f"{job.runs:,}",
        f"{job.done:,}",
        f"{job.waiting:,}",
        f"{job.failures:,}",
        f"in {_span(job.next_time - now)}" if job.next_time is not None else "running",
        job.last_error or "-",
    )


def _span(value: timedelta) -> str:
    """In the unit that suits it; what lies on the other side of now is 0: the daemon's clock is another one."""
    seconds = max(0.0, value.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"
