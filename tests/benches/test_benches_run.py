"""Every benchmark at a tiny size: it runs, and its JSON line has the figures it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benches.report import ROOT
from memd.adapters.embed_onnx import FORMS
from memd.adapters.embed_onnx.install import install

ALWAYS = {"machine", "versions", "seed", "command"}


def run(name: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benches.{name}", "--json", *options]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert finished.returncode == 0, finished.stderr[-4_000:]
    figures: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    assert figures.keys() >= ALWAYS
    return figures


def test_recall_latency() -> None:
    figures = run("recall_latency", "--memories", "60", "--queries", "20", "--block", "10", "--seconds", "0.4")
    wanted = "p50_ms p95_ms p99_ms echo_p50_ms embed_p50_ms floor_ms ratio_to_floor cached_p50_ms throughput_16 rss_mb"
    assert figures.keys() >= {*wanted.split(), "rss_anon_mb", "bare_p50_ms", "ratio_to_bare"}
    assert figures["bare_p50_ms"] > 0
    assert figures["cached_p50_ms"] > 0
    assert figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    assert figures["floor_ms"] == pytest.approx(figures["echo_p50_ms"] + figures["embed_p50_ms"], rel=1e-2)
    assert 0 < figures["rss_anon_mb"] < figures["rss_mb"]


def test_recall_latency_on_servers() -> None:
    figures = run(
        "recall_latency",
        *("--backend", "sqlite,servers", "--memories", "30", "--queries", "10", "--block", "5", "--seconds", "0.4"),
    )
    assert figures["servers_p50_ms"] > 0


def test_sidecars() -> None:
    figures = run("sidecars", "--pods", "2", "--writes", "30", "--rate", "30", "--namespaces", "2")
    assert (figures["lost"], figures["stale_reads"], figures["refused_writes"]) == (0, 0, 0)
    assert figures["p50_visible_ms"] > 0


def test_observe() -> None:
    figures = run("observe", "--writers", "4", "--events", "50", "--seconds", "0.4")
    assert figures.keys() >= {"p50_ms", "floor_ms", "ratio_to_floor", "events_per_s", "echo_per_s"}
    assert figures["writers"] == 4
    assert figures["events_per_s"] > 0


def test_background() -> None:
    figures = run("background", "--slices", "1", "--seconds", "0.5", "--rate", "80", "--busy-sessions", "2")
    wanted = "idle_p50_ms idle_p99_ms busy_p50_ms busy_p99_ms p50_ratio p99_ratio queue_depth_start queue_depth_end"
    assert figures.keys() >= set(wanted.split())
    assert figures["busy_events"] == 40
    assert figures["compressions"] >= 1
    assert figures["consolidated_memories"] >= 1


def test_background_with_live_sessions() -> None:
    figures = run("background", "--sessions", "2", "--events", "10", "--seconds", "1")
    assert figures.keys() >= {"observe_p50_ms", "queue_depth_end", "rss_growth", "over_time"}
    assert figures["events_per_s"] > 0


def test_cold_start() -> None:
    figures = run("cold_start", "--memories", "40", "--starts", "1")
    assert figures.keys() >= {"ready_s", "rss_anon_mb"}
    assert figures["ready_s"] >= figures["serving_after_stop_s"] > 0


def test_namespaces() -> None:
    figures = run("namespaces", "--namespaces", "30", "--memories", "3", "--memory-mb", "1")
    assert figures["loaded"] == 30
    assert figures["limited_loaded"] >= 1
    assert figures["first_search_p50_ms"] > 0


def test_export_import() -> None:
    figures = run("export_import", "--memories", "60")
    assert figures.keys() >= {"export_s", "import_s", "rss_growth_mb", "import_rss_growth_mb"}
    assert (figures["imported"], figures["verified"], figures["equal"]) == (60, True, True)


def test_tokens() -> None:
    figures = run("tokens", "--megabytes", "0.3", "--rounds", "1")
    assert figures["mb_per_s"] > 0
    assert figures["tiktoken_mb_per_s"] > 0


def test_index(tmp_path: Path) -> None:
    plot = tmp_path / "plots" / "index.svg"
    size = ("--vectors", "2000", "--queries", "40", "--rounds", "1", "--threads", "1")
    figures = run("index", "--only", "numpy,memd", "--data", "synthetic", *size, "--plot", str(plot))
    wanted = (
        "ms_p50_at_95 ms_p50_at_98 ms_p50_at_99 build_1_threads_s bytes_per_vector filtered_1pct_ms load_s remove_us"
    )
    recalls = ("filtered_1pct_recall", "filtered_10pct_recall", "after_removal_recall", "exact_10k_overlap")
    for name in ("numpy", "memd"):
        assert figures[name].keys() >= set(wanted.split())
        assert all(figures[name][recall] >= 0.9 for recall in recalls)
    assert all(figures["numpy"][recall] == 1 for recall in recalls)
    assert figures["memd"]["exact_10k_mode_overlap"] == 1
    assert figures["curves"]["numpy"] == [[0, 1.0, figures["numpy"]["ms_p50_at_99"]]]
    assert len(figures["curves"]["memd"]) > 1
    assert figures["search_overhead_us"] is not None
    assert plot.read_text().startswith("<svg")


def test_quality_finds_the_evidence_of_easy_questions(tmp_path: Path) -> None:
    turns = ["My cat is called Mirabelle.", "I work as a pastry chef in Lyon.", "The marathon is in October."]
    questions = [("What is the name of the cat?", 0), ("Which job does she have?", 1), ("When is the marathon?", 2)]
    with (tmp_path / "memories.jsonl").open("w") as lines:
        for n, body in enumerate(turns):
            turn = {
                "id": f"t{n}",
                "conv": "one",
                "session": 1,
                "turn": n,
                "speaker": "Ada",
                "ts": "2026-03-04T05:06:07",
            }
            lines.write(json.dumps({**turn, "body": body, "text": f"Ada: {body}"}) + "\n")
    with (tmp_path / "questions.jsonl").open("w") as lines:
        for n, (text, gold) in enumerate(questions):
            asked = {"question_id": f"q{n}", "conv": "one", "question": text, "category": 4, "gold": [f"t{gold}"]}
            lines.write(json.dumps(asked) + "\n")
    results = tmp_path / "results.jsonl"
    figures = run("quality", "--data", str(tmp_path), "--results", str(results))
    assert figures.keys() >= {"recall_at_5", "recall_at_10", "recall_at_20", "mrr", "ndcg_at_10"}
    assert figures["recall_at_5"] == 1
    assert [json.loads(line)["question_id"] for line in results.read_text().splitlines()] == ["q0", "q1", "q2"]


def test_updates() -> None:
    figures = run("updates", "--questions", "40")
    assert figures["half"] == "A"
    assert figures["now_questions"] + figures["as_of_questions"] + figures["ended_questions"] == 40
    assert 0 < figures["now_first"] <= figures["now_in_5"] <= 1
    assert 0 < figures["as_of_first"] <= figures["as_of_in_5"] <= 1
    assert figures["stale_shown"] == 0


def test_reembed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = ROOT / ".cache" / "weights"
    if not weights.exists():
        pytest.skip("the weights were not fetched yet: run tests/embed first")
    for precision in FORMS:
        install(str(weights), precision, lambda line: None, root=tmp_path)
    monkeypatch.setenv("MEMD_MODEL_DIR", str(tmp_path))
    figures = run("reembed", "--memories", "60", "--seconds", "0.5")
    assert figures["took_s"] > 0
    assert figures["recalls_during"] >= 1
    assert figures["longest_write_ms"] >= figures["write_during_p50_ms"] > 0
