"""A daemon that remembers, in one minute: write, kill -9, restart, recall, restore, compress, return after days, forget.

Starts a real daemon on a temporary directory, plays the conversation of ``conversation.json`` through the client, kills
the daemon with SIGKILL in the middle, starts it again and asks. Leaves nothing behind; exits 0 when every promise it
shows was kept, 1 otherwise.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from memd_client import Client, Event, EventKind, Health, MemdError, NewMemory, Outcome, Recall, SourceKind, StepState

from examples.demo import long_session
from examples.demo.release import STEPS

STORY: dict[str, Any] = json.loads(Path(__file__).with_name("conversation.json").read_text(encoding="utf-8"))
START_TIMEOUT_S = 30.0
COMPRESS_TIMEOUT_S = 10.0
DIGEST_TIMEOUT_S = 15.0
LIVES_S = 5.0
"""What a session lives here after its last event. Three days are shortened to it; by default it is 24 hours."""
TASK = "release-2026-07"
LONG_SESSION = "migration"
FIRST_HALF = 3  # events of the third session before the kill
DIES_IN = 18


class Daemon:
    """A memd process on a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "memd.sock"
        self._command = [sys.executable, "-m", "memd", "serve", "--data-dir", str(directory / "data")]
        self._command += ["--socket", str(self.socket), "--log-level", "warning"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start and wait until it serves; seconds that took."""
        began = time.perf_counter()
        self._process = subprocess.Popen(self._command)
        with Client(str(self.socket)) as client:
            while True:
                if self._process.poll() is not None:
                    sys.exit("the daemon did not start; it says why above")
                try:
                    if client.health() is Health.SERVING:
                        return time.perf_counter() - began
                except MemdError:
                    pass
                if time.perf_counter() - began > START_TIMEOUT_S:
                    sys.exit(f"the daemon was not ready within {START_TIMEOUT_S:.0f} s")
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: no warning, no clean-up."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(timeout=START_TIMEOUT_S)


def say(title: str) -> None:
    print(f"\n\033[1m== {title}\033[0m" if sys.stdout.isatty() else f"\n== {title}", flush=True)


def event(raw: dict[str, Any]) -> Event:
    return Event(
        raw["content"],
        kind=EventKind[raw["kind"]],
        role=raw.get("role", ""),
        event_id=raw.get("id", ""),
        tool_name=raw.get("tool", ""),
        tool_call_id=raw.get("call", ""),
        outcome=Outcome[raw["outcome"]] if "outcome" in raw else None,
        resolves=raw.get("resolves", ""),
    )


def memory(raw: dict[str, Any]) -> NewMemory:
    return NewMemory(raw["content"], tags=raw.get("tags", ()), importance=raw.get("importance"))


def observe(client: Client, session: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """Observe events one by one, as an agent does."""
    scoped = client.scoped(session_id=session["session"])
    for raw in events:
        scoped.observe([event(raw)])
    print(f"  {session['session']}: {len(events)} events observed")


def remember(client: Client, session: dict[str, Any]) -> list[str]:
    """Remember what the agent learned in a session; the ids."""
    stored = client.scoped(session_id=session["session"]).remember([memory(raw) for raw in session["learned"]])
    print(f"  {session['session']}: {len(stored.memories)} memories remembered, {stored.receipt.durability.name}")
    return [m.memory_id for m in stored.memories]


def show(question: str, found: Recall, round_trip_ms: float) -> None:
    say(f"Q: {question}")
    print(found.context)
    parts = ", ".join(
        f"{s.tier.name.lower()} {s.state.name} {s.latency.total_seconds() * 1000:.2f} ms" for s in found.tier_status
    )
    inside = found.elapsed.total_seconds() * 1000
    print(f"\n  [{found.tokens} tokens; {round_trip_ms:.2f} ms round trip, {inside:.2f} ms in the daemon: {parts}]")


def ask(client: Client, question: str) -> tuple[Recall, float]:
    began = time.perf_counter()
    found = client.recall(question, limit=3, token_budget=600)
    return found, (time.perf_counter() - began) * 1000


def check(promise: str, kept: bool) -> None:
    print(f"  {'ok  ' if kept else 'FAIL'} {promise}")
    if not kept:
        sys.exit(f"memd broke a promise: {promise}")


def before_the_kill(client: Client, daemon: Daemon) -> list[str]:
    """Two days and a half; then the daemon dies in the middle of the third session. Ids of the memories so far."""
    say("Three days of work, through the generated gRPC stubs")
    monday, tuesday, wednesday = STORY["sessions"]
    ids: list[str] = []
    for session in (monday, tuesday):
        observe(client, session, session["events"])
        ids += remember(client, session)
    how_to = STORY["procedure"]
    client.put_procedure(how_to["key"], content=how_to["content"], trigger=how_to["trigger"])
    client.report_outcome(how_to["key"], version=1, outcome=Outcome.SUCCESS)
    saved = client.save_checkpoint(TASK, b'{"step": 18, "of": 25}', expected_version=0)
    print(f"  a procedure with its first success; checkpoint version {saved.version} of task {TASK}")
    observe(client, wednesday, wednesday["events"][:FIRST_HALF])
    daemon.kill()
    print("  kill -9, in the middle of wednesday")
    return ids


def after_the_restart(client: Client, daemon: Daemon, ids: list[str]) -> None:
    say("Restart: nothing that was acknowledged may be missing")
    print(f"  serving again after {daemon.start():.2f} s")
    monday, tuesday, wednesday = STORY["sessions"]
    there = {m.memory_id for m in client.list()}
    # more may be there: what was said to be remembered becomes a memory by itself, soon after it was observed
    check(f"all {len(ids)} memories are there", set(ids) <= there)
    for session, events in ((monday, None), (tuesday, None), (wednesday, FIRST_HALF)):
        expected = [raw["content"] for raw in session["events"][:events]]
        stored = [e.content for e in client.scoped(session_id=session["session"]).episodes()]
        check(f"all {len(expected)} events of {session['session']} are there, in order", stored[::-1] == expected)
    state = client.load_checkpoint(TASK)
    check(f"the checkpoint is there: {state.state.decode()}", state.version == 1)
    check("the index equals the rows (memd verify)", client.verify().ok)
    observe(client, wednesday, wednesday["events"][FIRST_HALF:])
    remember(client, wednesday)


def a_task_that_crashes(client: Client, daemon: Daemon, journal: Path) -> None:
    """The agent dies in a step, after its side effect; then the daemon dies; then the agent is started again."""
    say(f"A task of {STEPS} steps whose agent dies in step {DIES_IN}")
    agent = [sys.executable, "-m", "examples.demo.release", str(daemon.socket), "release-steps", str(journal)]
    died = subprocess.run([*agent, str(DIES_IN)], check=False).returncode
    print(f"  the agent was killed (exit {died}) after {len(journal.read_text().splitlines())} side effects")
    daemon.kill()
    daemon.start()
    print("  kill -9 of the daemon too, and a restart; then the agent runs again, the same program")
    again = subprocess.run(agent, check=False).returncode
    effects = journal.read_text(encoding="utf-8").splitlines()
    check("the agent ran to its end", again == 0)
    check(
        f"every side effect happened once, in order: {len(effects)} of {STEPS}",
        effects == [f"step {n}" for n in range(1, STEPS + 1)],
    )
    states = [step.state for step in client.list_steps("release-steps")]
    check("the ledger has every step COMPLETED", states == [StepState.COMPLETED] * STEPS)


def questions(client: Client) -> None:
    session = STORY["after_restart"]
    say("Thursday: a new session asks")
    observe(client, session, session["events"])
    scoped = client.scoped(session_id=session["session"])
    for question in STORY["questions"]:
        show(question, *ask(scoped, question))


def a_long_session(client: Client) -> float:
    """More than working memory holds: what is old becomes a summary behind the reply, and stays readable as episodes. When
    it ends by itself."""
    said = long_session.events()
    client.update_namespace_settings(episodic_ttl=timedelta(seconds=LIVES_S))
    say(f"A session of {len(said)} events: working memory compresses")
    scoped = client.scoped(session_id=LONG_SESSION)
    scoped.observe(said)
    began = time.perf_counter()
    expires = began + LIVES_S
    while (items := scoped.working_memory().items)[0].kind is not EventKind.SUMMARY:
        if time.perf_counter() - began > COMPRESS_TIMEOUT_S:
            sys.exit(f"working memory was not compressed within {COMPRESS_TIMEOUT_S:.0f} s")
        time.sleep(0.02)
    summary, *recent = items
    print(f"  summary of events {summary.summarized_from} to {summary.summarized_through}:")
    print("\n".join(f"    {line}" for line in summary.content.splitlines()))
    check(
        f"then the {len(recent)} most recent, in order, with no gap",
        [e.position for e in recent] == list(range(summary.summarized_through + 1, len(said) + 1)),
    )
    originals = [e.content for e in scoped.episodes()][::-1]
    check(f"all {len(said)} originals are there as episodes", originals == [e.content for e in said])
    return expires


def three_days_away(client: Client, daemon: Daemon, expires: float) -> None:
    """The long session's time runs out while nothing runs; what it leaves was made while it lived."""
    say("Three days later, in a few seconds")
    print(
        f"  simulated: that session was given {LIVES_S:.0f} s to live instead of 24 hours, and no daemon runs as they end"
    )
    began = time.perf_counter()
    while not any(m.source is SourceKind.DIGEST and m.scope.session_id == LONG_SESSION for m in client.list()):
        if time.perf_counter() - began > DIGEST_TIMEOUT_S:
            sys.exit(f"the session had no digest within {DIGEST_TIMEOUT_S:.0f} s")
        time.sleep(0.02)
    daemon.stop()
    print("  the daemon is stopped")
    time.sleep(max(0.0, expires + 0.5 - time.perf_counter()))
    print(f"  serving again after {daemon.start():.2f} s; the user is back, in a new session")
    check("the session and its events have expired", not list(client.scoped(session_id=LONG_SESSION).episodes()))
    question = "Where were we with the migration?"
    found, took_ms = ask(client.scoped(session_id="three-days-later"), question)
    show(question, found, took_ms)
    recent = found.context.partition("## Recent context")[2].partition("\n---\n")[0]
    check("recent context tells of it, with its decisions", all(word in recent for word in long_session.DECIDED))


def forgetting(client: Client) -> None:
    say("Forget, with a receipt")
    wanted = STORY["forget"]
    ids = [m.memory_id for m in client.list() if wanted["match"] in m.content]
    receipt = client.forget(memory_ids=ids)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(receipt.counts.items()) if count)
    print(f"  receipt {receipt.receipt_id}: {counts}; out of reach: {'; '.join(receipt.out_of_reach)}")
    found, _ = ask(client, wanted["question"])
    check("the next recall does not find it", not {m.memory.memory_id for m in found.memories} & set(ids))
    check("the index equals the rows", client.verify().ok)


@contextmanager
def temporary_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="memd-demo-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def main() -> int:
    with temporary_directory() as directory:
        daemon = Daemon(directory)
        say("A daemon on embedded storage")
        print(f"  serving after {daemon.start():.2f} s, nothing configured")
        try:
            with Client(str(daemon.socket), user_id=STORY["user"], agent_id=STORY["agent"]) as client:
                ids = before_the_kill(client, daemon)
                after_the_restart(client, daemon, ids)
                a_task_that_crashes(client, daemon, directory / "journal")
                questions(client)
                three_days_away(client, daemon, a_long_session(client))
                forgetting(client)
        finally:
            daemon.stop()
    say("Done: the daemon is stopped and its directory removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
