"""R26: the harness has teeth: bugs planted on purpose are found, each by a test of the suite that is named here.

Every test runs in a pytest of its own, at the smallest size, once with the bug (it must fail) and once without (it must
pass, or its failure with the bug would say nothing).
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.reliability import plants, size

CAUGHT_BY = {
    "acknowledge_before_commit": (
        "test_r1_acknowledged_writes_survive.py::test_every_acknowledged_write_survives_sigkill_at_chosen_calls"
    ),
    "skip_fsync": "test_r1_acknowledged_writes_survive.py::test_every_acknowledged_write_survives_a_power_cut",
    "swallow_errors_of_commit": (
        "test_r3_io_errors_never_become_ok.py::test_no_error_is_answered_ok_and_no_read_is_wrong"
    ),
    "lose_tombstones": "contract/test_forget.py::TestFence::test_racing_writers_never_bring_it_back",
    "drop_the_user_predicate": (
        "domain/test_visibility.py::test_a_scope_sees_its_users_memories_that_no_other_agent_claimed"
    ),
    "leave_the_index_behind": (
        "test_r6_index_equals_rows.py::test_index_and_rows_agree_through_random_operations_and_restarts"
    ),
    "forget_what_was_answered": "test_r9_retry_has_one_effect.py::test_every_retry_has_one_effect_and_the_same_reply",
    "ignore_the_expected_version": (
        "test_r10_checkpoints_linearizable.py::test_every_history_of_sixteen_writers_and_two_kills_is_linearizable"
    ),
}
ROOT = Path(__file__).parents[1]
TIMEOUT_S = 180.0
TESTS_FAILED = 1
PASSED = 0


def _run(tests: list[str], plant: str = "") -> tuple[int, str]:
    """Exit code and output of pytest on these tests with this bug in."""
    environment = {**os.environ, size.VARIABLE: "S"}
    options = ["-x", "-p", "no:cacheprovider"]
    if plant:
        environment |= {"MEMD_TESTING": "1", plants.VARIABLE: f"tests.reliability.plants:{plant}"}
        options += ["-p", "tests.reliability.plants"]
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def ran() -> dict[str, tuple[int, str]]:
    """All runs by plant, as many at a time as there are cores; "" is the one without."""
    runs = [("", list(CAUGHT_BY.values())), *((plant, [test]) for plant, test in CAUGHT_BY.items())]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = threads.map(lambda run: _run(run[1], run[0]), runs)
        return dict(zip([plant for plant, _ in runs], results, strict=True))


def test_every_plant_has_its_test() -> None:
    assert {plant.__name__ for plant in plants.PLANTS} == CAUGHT_BY.keys()


@pytest.mark.parametrize("plant", CAUGHT_BY)
def test_a_planted_bug_is_found(ran: dict[str, tuple[int, str]], plant: str) -> None:
    code, output = ran[plant]
    assert code == TESTS_FAILED, f"{plant} was not found:\n{output[-3000:]}"


def test_without_a_bug_the_same_tests_pass(ran: dict[str, tuple[int, str]]) -> None:
    code, output = ran[""]
    assert code == PASSED, output[-3000:]
