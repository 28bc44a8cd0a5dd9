"""Sentences people wrote: docstrings and comments of the pinned packages and of the standard library.

Sorted by a hash, so that any number of first ones is a fair sample of all; the same environment gives the same sentences.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from benches.report import ROOT

MIN_WORDS, MAX_WORDS = 6, 40
MAX_CHARACTERS = 320
_MIN_LETTERS = 0.7  # below it: tables, signatures, code
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'`(])")
# A blank line, or a line that begins an item of a list, a field or a directive.
_PARAGRAPH_END = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)]|:\w+|@\w+|\.\. )\s*)")
_CODE = re.compile(r"^\s*(?:>>>|\.\.\.|\$ |[=~^\-+|#]{3,}|:\w+[^:]*:|@\w+)|::\s*$|^\s*\w+ ?= ?\S|[{}\\]|\|\s*\w+\s*\|")
_COMMENTS = re.compile(r"(?:^[ \t]*#(?!!)[^\n]*\n)+", re.MULTILINE)
_COMMENT_MARK = re.compile(r"^[ \t]*#[:!#]* ?", re.MULTILINE)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def digest() -> str:
    """Of all that decides which sentences there are: packages and their versions, Python, and the rules in this file."""
    versions = [f"{package.name}=={package.version}" for package in _packages()]
    parts = [*versions, sys.version, Path(__file__).read_text(encoding="utf-8")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def sentences() -> list[str]:
    """All different ones, in the order of their hashes."""
    found = {sentence.casefold(): sentence for path in _sources() for sentence in _of_file(path)}
    return sorted(found.values(), key=lambda sentence: hashlib.sha256(sentence.encode()).digest())


def _packages() -> Iterator[Distribution]:
    for name in _PIN.findall((ROOT / "constraints.txt").read_text(encoding="utf-8")):
        try:
            yield distribution(name)
        except PackageNotFoundError:
            continue


def _sources() -> Iterator[Path]:
    for package in _packages():
        yield from sorted(Path(str(file.locate())) for file in package.files or () if file.suffix in (".py", ".pyi"))
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if "site-packages" not in path.relative_to(library).parts:
            yield path


def _of_file(path: Path) -> Iterator[str]:
    try:
        source = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's escapes
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for comments in _COMMENTS.findall(source):
        yield from of_text(_COMMENT_MARK.sub("", comments))
    for node in ast.walk(tree):  # docstrings, and the strings that stand below an attribute
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from of_text(node.value.value)


def of_text(text: str) -> Iterator[str]:
    """The sentences of one docstring or comment; headings, code and tables are left out."""
    for paragraph in _PARAGRAPH_END.split(text):
        prose = [line for line in paragraph.splitlines() if not _CODE.search(line)]
        for sentence in _SENTENCE_END.split(" ".join(" ".join(prose).split())):
            sentence = sentence.lstrip("-*•0123456789.) ")
            if _is_prose(sentence):
                yield sentence


def _is_prose(sentence: str) -> bool:
    words = len(sentence.split())
    letters = sum(character.isalpha() or character == " " for character in sentence)
    return (
        MIN_WORDS <= words <= MAX_WORDS and len(sentence) <= MAX_CHARACTERS and letters > _MIN_LETTERS * len(sentence)
    )
