"""A small agent that keeps its memory in memd: what to call, and when. No model and no key needed.

    memd serve &
    python examples/agent_loop.py              two sessions of a conversation; the second one knows what the first learned
    python examples/agent_loop.py --stop-after 2    fall over in the middle; run again, and it goes on from there

Each turn goes round the same loop: observe what was said, recall what matters, decide, act (and observe what came of it),
remember what was learned, save a checkpoint. `decide` stands in for a language model: it sees what a model would be given,
the turn and the context, and answers by rules.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass

from memd_client import Client, MemdError, Recall, errors

USER = "ada"
AGENT = "travel-agent"
TASK = "example-agent-loop"

# Session -> what the user says in it.
CONVERSATION = {
    "monday": [
        "Hello! I prefer trains to planes, please keep that in mind.",
        "Also, I am allergic to peanuts.",
        "Can you find me a trip to Lyon?",
    ],
    "thursday": [
        "Can you find me a trip to Nice?",
        "What am I allergic to?",
    ],
}

TIMETABLE = {("Lyon", "train"): "07:58, 2 h, 49 EUR", ("Nice", "plane"): "09:15, 1.5 h, 80 EUR"}


@dataclass(frozen=True)
class Reply:
    """Say this, and the turn is over."""

    text: str


@dataclass(frozen=True)
class Learn:
    """Keep this beyond the session, then say so."""

    fact: str


@dataclass(frozen=True)
class Search:
    """Use the tool."""

    city: str
    means: str


def decide(turn: str, recall: Recall, found: str | None) -> Reply | Learn | Search:
    """What a model would decide, given the turn, `recall.context` and what the tool found."""
    if found is not None:
        return Reply(f"I found this: {found}")
    if "I prefer" in turn or "I am allergic" in turn:
        return Learn(turn.replace("Hello! ", "").replace("Also, ", ""))
    if "trip to" in turn:
        likes_trains = any("prefer trains" in hit.memory.content for hit in recall.memories)
        return Search(city=turn.split("trip to ")[1].rstrip("?"), means="train" if likes_trains else "plane")
    if recall.memories and not recall.nothing_relevant:
        return Reply(f"You told me: {recall.memories[0].memory.content}")
    return Reply("I do not know that yet.")


def take_turn(memd: Client, turn: str) -> str:
    """Once round the loop; the answer."""
    memd.observe(turn, role="user")
    recall = memd.recall(turn)  # recall.context is what a model's prompt would start with
    found = None
    while True:
        action = decide(turn, recall, found)
        if isinstance(action, Search):
            found = search(memd, action)
            continue
        if isinstance(action, Learn):
            memd.remember(action.fact, source="user", tags=["about-the-user"])
            action = Reply("I will remember that.")
        memd.observe(action.text, role="assistant")
        return action.text


def search(memd: Client, wanted: Search) -> str:
    """The tool. What it did and how it ended is part of the session, failures above all."""
    asked = f"search {wanted.means} to {wanted.city}"
    if found := TIMETABLE.get((wanted.city, wanted.means)):
        memd.observe(f"{asked}: {found}", kind="tool_call", role="tool", tool_name="search", outcome="success")
        return f"{wanted.means} to {wanted.city}, {found}"
    failed = memd.observe(f"{asked}: nothing found", kind="error", role="tool", tool_name="search", outcome="failure")
    other = "plane" if wanted.means == "train" else "train"
    found = TIMETABLE[wanted.city, other]
    memd.observe(
        f"no {wanted.means} to {wanted.city}, offered the {other} in place of it",
        kind="decision",
        role="assistant",
        resolves=failed.events[0].event_id,
    )
    return f"no {wanted.means}, but a {other} to {wanted.city}, {found}"


def load(memd: Client) -> tuple[int, int]:
    """How many turns are done, and the checkpoint's version; (0, 0) at the first start."""
    try:
        checkpoint = memd.load_checkpoint(TASK)
    except errors.NotFound:
        return 0, 0
    return json.loads(checkpoint.state)["done"], checkpoint.version


def run(memd: Client, stop_after: int | None) -> None:
    """Play the conversation from where it stands."""
    turns = [(session, turn) for session, spoken in CONVERSATION.items() for turn in spoken]
    done, version = load(memd)
    if done:
        print(f"(going on after turn {done}, from checkpoint version {version})")
    for number, (session, turn) in enumerate(turns[done:], start=done + 1):
        answer = take_turn(memd.scoped(session_id=session), turn)
        print(f"[{session}] {USER}: {turn}\n[{session}] agent: {answer}")
        # compare-and-set: a second copy of this agent would lose here, and not overwrite our progress
        state = json.dumps({"done": number}).encode()
        version = memd.save_checkpoint(TASK, state, expected_version=version).version
        if number == stop_after:
            sys.exit(f"(stopped after turn {number}; run again to go on)")
    print(f"\nWhat the agent would be given next:\n\n{memd.recall('plan the next trip').context}")
    memd.delete_checkpoint(TASK)


def main() -> None:
    """Run against a daemon."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="of the daemon (default: $MEMD_ADDRESS, else its default socket)")
    parser.add_argument("--stop-after", type=int, metavar="TURN", help="leave after this turn")
    args = parser.parse_args()
    try:
        with Client(args.address, user_id=USER, agent_id=AGENT) as memd:
            run(memd, args.stop_after)
    except MemdError as error:
        sys.exit(f"{error} (is `memd serve` running?)" if isinstance(error, errors.Unreachable) else str(error))


if __name__ == "__main__":
    main()
