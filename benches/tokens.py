"""How fast exact token counts are, beside tiktoken with the same vocabulary: one thread, the same texts.

Texts: short and long English, the same in other scripts, code. Every count is compared with tiktoken's first; a difference
ends the benchmark.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import tiktoken
import tiktoken_ext.openai_public  # type: ignore[import-untyped]

from benches import report
from benches.corpus import Corpus
from benches.report import Figure, Target, median, progress
from memd import _core

TARGETS = (Target("ratio_to_tiktoken", ">=", 1.0),)
_OTHER_SCRIPTS = (
    "Она обещала прислать отчёт в среду, но сервер снова не отвечал. ",
    "会议改到星期三上午十点，请先检查昨天的日志。",
    "Η σύσκεψη μεταφέρθηκε, γιατί το αντίγραφο ασφαλείας απέτυχε δύο φορές. ",
    "彼女は緑茶が好きで、会議の前にいつも一杯飲みます。",
    "اجتماع الفريق كل يوم ثلاثاء في الساعة التاسعة. ",
    "Zażółć gęślą jaźń, 3 × 4 ≠ 11 🙂🚀 — naïve café. ",
)


def reference(encoding: str, vocabulary: dict[bytes, int]) -> tiktoken.Encoding:
    """tiktoken's own encoding, with memd's ranks in place of the vocabulary it would download."""
    public = tiktoken_ext.openai_public
    download = public.load_tiktoken_bpe
    public.load_tiktoken_bpe = lambda *_args, **_kwargs: vocabulary
    try:
        return tiktoken.Encoding(**public.ENCODING_CONSTRUCTORS[encoding]())
    finally:
        public.load_tiktoken_bpe = download


def texts(corpus: Corpus, megabytes: float) -> list[str]:
    """About ``megabytes`` MB: single memories, pages, other scripts, source code; in an order of the seed."""
    share = int(megabytes * 1e6 / 4)
    short = corpus.memories(share // 100)
    pages = corpus.documents(share // 5_000 + 1, 50)
    rng = random.Random(f"{corpus.seed}/scripts")
    scripts = ["".join(rng.choices(_OTHER_SCRIPTS, k=6)) for _ in range(share // 500)]
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    code *= share // sum(len(text) for text in code) + 1
    mixed = [*short, *pages, *scripts, *code]
    rng.shuffle(mixed)
    return mixed


def mb_per_s(count: Callable[[str], int], given: Sequence[str], size_mb: float) -> float:
    started = time.perf_counter()
    for text in given:
        count(text)
    return size_mb / (time.perf_counter() - started)


def measure(args: argparse.Namespace) -> dict[str, Figure]:
    """All figures; both take turns, the median of the rounds counts."""
    counter = _core.TokenCounter(args.encoding)
    theirs = reference(args.encoding, counter.vocabulary())

    def count_theirs(text: str) -> int:
        return len(theirs.encode_ordinary(text))

    given = texts(Corpus(args.seed), args.megabytes)
    size_mb = sum(len(text.encode()) for text in given) / 1e6
    if any(counter.count(text) != count_theirs(text) for text in given):
        raise RuntimeError("a count differs from tiktoken's")
    progress(f"{len(given):,} texts, {size_mb:.1f} MB, counts equal")
    ours_rates, theirs_rates, batch_rates = [], [], []
    for _ in range(args.rounds):
        ours_rates.append(mb_per_s(counter.count, given, size_mb))
        theirs_rates.append(mb_per_s(count_theirs, given, size_mb))
        started = time.perf_counter()
        counter.count_batch(given)
        batch_rates.append(size_mb / (time.perf_counter() - started))
    return {
        "encoding": args.encoding,
        "texts_mb": size_mb,
        "mb_per_s": median(ours_rates),
        "tiktoken_mb_per_s": median(theirs_rates),
        "ratio_to_tiktoken": median(ours_rates) / median(theirs_rates),
        "batch_mb_per_s": median(batch_rates),
    }


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--encoding", choices=["o200k_base", "cl100k_base"], default="o200k_base")
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    report.publish("tokens", args, measure(args), TARGETS)


if __name__ == "__main__":
    main()
