"""``memd recall``."""

from __future__ import annotations

import argparse

from memd_client import Recall, TierState, TierStatus

from memd.cli.connect import connected
from memd.cli.output import milliseconds, note, print_json, printable
from memd.cli.values import chosen, moment

NO_SESSION = "NO_SESSION"
"""Nothing that anybody has to be told: the sections of a session were not asked for."""


def run(args: argparse.Namespace) -> int:
    """Print the context block, and what it cost on stderr."""
    with connected(args) as client:
        recall = client.recall(
            args.query,
            limit=args.limit,
            max_episodes=args.max_episodes,
            token_budget=args.token_budget,
            tiers=args.tier,
            filter=chosen(args),
            min_relevance=args.min_relevance,
            as_of=moment(args.as_of),
            explain=args.explain,
        )
    if args.json:
        print_json(recall)
    else:
        if recall.context:
            print(printable(recall.context))
        note(_cost(recall))
        for status in recall.tier_status:
            if status.explanation and status.reason != NO_SESSION:
                note(f"{status.tier}: {status.explanation}")
    return 0


def _cost(recall: Recall) -> str:
    tiers = ", ".join(map(_tier, recall.tier_status))
    weak = "; probably nothing stored answers this" if recall.nothing_relevant else ""
    return f"{recall.tokens} tokens in {milliseconds(recall.elapsed)} ({tiers}){weak}"


def _tier(status: TierStatus) -> str:
    if status.state is TierState.OK:
        return f"{status.tier} {milliseconds(status.latency)}"
    reason = f" {status.reason}" if status.reason else ""
    return f"{status.tier} {status.state}{reason}"
