"""Write every half of the updates set beside this file."""

from __future__ import annotations

import argparse

from benches.data.updates import generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=generate.SEED, help="the committed files are of the default seed")
    args = parser.parse_args()
    for half in generate.HALVES:
        for name, text in generate.files(half, args.seed).items():
            (generate.HERE / name).write_text(text, encoding="utf-8")
            print(f"{name}: {text.count(chr(10)):,} lines, {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
