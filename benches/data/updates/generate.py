"""Makes one half of the set from its templates and a seed: the same bytes every time.

A fact is one attribute of one subject and its history. Its kind says what happens to it:
replaced and preference: new memories that supersede the one before; correction: one memory whose text is updated; ended: a
validity that is closed without a successor; never: nothing.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
HALVES = ("a", "b", "c")
SEED = 20_260_101
"""The committed files are of this seed."""

PERSON_ATTRIBUTES = 5
FIRST_DAY = datetime(2024, 1, 8, tzinfo=UTC)
STARTS_WITHIN_DAYS = 120
GAP_DAYS = (75, 170)  # the shortest has a whole calendar month in it, for the questions that name one
LAST_DAY = 660
AFTERWARDS_DAYS = (4, 50)
FIRST_PERSON, OBLIQUE = "me: ", "~"
LENGTHS = (2, 2, 2, 3, 3, 4)  # values of a fact that is replaced
OBLIQUE_SHARE = 0.1
FULL_NAME_SHARE = 0.15
PLAN_SHARE, QUOTE_SHARE, ASIDE_SHARE, COPY_SHARE = 0.35, 0.4, 0.35, 0.15
THEN_OF_UNCHANGED_SHARE = 0.4

Kind = Literal["replaced", "preference", "correction", "ended", "never"]
Attribute = Mapping[str, Any]

SHARES: Mapping[Kind, float] = {"never": 0.18, "correction": 0.14, "ended": 0.14}
"""Of the facts, by kind; the others are replaced. What may not end is replaced too."""


@dataclass(frozen=True)
class Subject:
    """``names``: what it is called; one that shares its first name with somebody is always called in full."""

    about: str
    names: tuple[str, ...]
    attributes: tuple[Attribute, ...]

    @property
    def full(self) -> str:
        return self.names[0]

    @property
    def usual(self) -> str:
        return self.names[-1]


@dataclass(frozen=True)
class Sentence:
    """``speaker`` is who says it of themselves, "" where it is about a third person."""

    text: str
    speaker: str
    oblique: bool


@dataclass(eq=False)
class Write:
    """One change of the store. ``told`` is what a memory is: a value of its fact, or which distractor."""

    at: datetime
    fact: str
    told: str = ""
    said: Sentence | None = None
    supersedes: Write | None = None
    updates: Write | None = None
    valid_to: datetime | None = None
    memory_id: str = ""


@dataclass(frozen=True)
class Asked:
    """A question; ``gold`` None: the fact has ended, and ``ended`` is the memory that must not come back. ``oblique`` when
    either it or what it looks for is."""

    kind: Kind
    fact: str
    said: Sentence
    gold: Write | None
    oblique: bool = False
    as_of: datetime | None = None
    content: str = ""
    ended: Write | None = None


@dataclass
class Half:
    """What ``generate`` makes: in time order, memories numbered."""

    writes: list[Write] = field(default_factory=list)
    questions: list[Asked] = field(default_factory=list)


def generate(half: str, seed: int = SEED) -> Half:
    """All facts of a half with their distractors and questions."""
    templates = tomllib.loads((HERE / f"templates_{half}.toml").read_text(encoding="utf-8"))
    rng = random.Random(f"{seed}/{half}")
    made = Half()
    subjects = list(_subjects(rng, templates))
    for attribute in templates["attributes"]:
        others = [s for s in subjects if attribute["about"] == "person" == s.about and attribute not in s.attributes]
        for subject in (s for s in subjects if attribute in s.attributes):
            _Fact(rng, subject, attribute, f"{subject.full}/{attribute['name']}", others).tell(made)
    made.writes.sort(key=lambda write: write.at)
    for number, write in enumerate((w for w in made.writes if w.updates is None), 1):
        write.memory_id = f"{half}{number:04}"
    rng.shuffle(made.questions)
    return made


def files(half: str, seed: int = SEED) -> dict[str, str]:
    """File names and what is in them."""
    made = generate(half, seed)
    questions = (_question_line(asked, f"{half}-q{n:03}") for n, asked in enumerate(made.questions, 1))
    return {
        f"writes_{half}.jsonl": "".join(map(_line, map(_write_line, made.writes))),
        f"questions_{half}.jsonl": "".join(map(_line, questions)),
    }


def _subjects(rng: random.Random, templates: Mapping[str, Any]) -> Iterator[Subject]:
    attributes = templates["attributes"]
    personal = [a for a in attributes if a["about"] == "person"]
    people: Sequence[str] = templates["people"]
    firsts = [name.split()[0] for name in people]
    shared: dict[str, tuple[Attribute, ...]] = {}
    for name, first in zip(people, firsts, strict=True):
        chosen = tuple(rng.sample(personal, PERSON_ATTRIBUTES))
        if firsts.count(first) == 1:
            yield Subject("person", (name, first), chosen)
        else:  # namesakes have the same attributes: near-copies of each other's memories
            yield Subject("person", (name,), shared.setdefault(first, chosen))
    for name in templates["projects"]:
        yield Subject("project", (name,), tuple(a for a in attributes if a["about"] == "project"))


class _Fact:
    """The history of one attribute of one subject."""

    def __init__(
        self, rng: random.Random, subject: Subject, attribute: Attribute, key: str, others: list[Subject]
    ) -> None:
        """``others``: of whom nothing is known in this respect; who gets a near-copy is taken from it."""
        self._rng = rng
        self._subject = subject
        self._attribute = attribute
        self._key = key
        self._others = others
        self._values: list[str] = rng.sample(attribute["values"], len(attribute["values"]))
        self._kind = self._chosen_kind()
        length = rng.choice(LENGTHS) if self._kind in ("replaced", "preference") else 1
        self._days = self._timeline(length + (self._kind in ("correction", "ended")))
        self._told: list[Write] = []
        self._length = length

    def _chosen_kind(self) -> Kind:
        drawn = self._rng.random()
        for kind, share in SHARES.items():
            drawn -= share
            if drawn < 0 and (kind != "ended" or self._attribute["ends"]):
                return kind
        return "preference" if self._attribute.get("preference") else "replaced"

    def _timeline(self, length: int) -> list[datetime]:
        days = [self._rng.randrange(STARTS_WITHIN_DAYS)]
        while len(days) < length:
            days.append(days[-1] + self._rng.randint(*GAP_DAYS))
        return [self._moment(day) for day in days]

    def _moment(self, day: int) -> datetime:
        return FIRST_DAY + timedelta(days=day, seconds=self._rng.randrange(7 * 3600, 21 * 3600))

    def tell(self, made: Half) -> None:
        """Add everything about this fact."""
        told, right = self._told, None
        for n in range(self._length):
            told.append(self._statement(n))
        made.writes.extend(told)
        if self._kind == "correction":
            right = self._sentence("first", self._values[0], speaker=_said(told[0]).speaker)
            made.writes.append(Write(self._days[1], self._key, said=right, updates=told[0]))
        elif self._kind == "ended":
            made.writes.append(Write(self._days[1], self._key, updates=told[0], valid_to=self._days[1]))
        made.writes.extend(self._distractors())
        made.questions.extend(self._asked(right))

    def _statement(self, n: int) -> Write:
        value = self._values[n] if self._kind != "correction" else self._values[-1]
        said = self._sentence("change" if n else "first", value, self._values[n - 1])
        return Write(self._days[n], self._key, "value", said, supersedes=self._told[-1] if n else None)

    def _sentence(
        self, use: str, value: str = "", old: str = "", *, speaker: str | None = None, when: str = ""
    ) -> Sentence:
        """``speaker``: who has to say it, "" for a third person's words; None leaves it open."""
        options: list[str] = self._attribute[use]
        oblique = self._rng.random() < OBLIQUE_SHARE
        if speaker is not None:
            options = [option for option in options if option.startswith(FIRST_PERSON) == bool(speaker)]
        options = [option for option in options if option.startswith(OBLIQUE) == oblique] or options
        template = self._rng.choice(options)
        subject = self._subject
        text = template.removeprefix(FIRST_PERSON).removeprefix(OBLIQUE)
        named = subject.full if self._rng.random() < FULL_NAME_SHARE else subject.usual
        text = text.format(p=named, v=value, old=old, when=when)
        return Sentence(
            text[0].upper() + text[1:],
            subject.usual if template.startswith(FIRST_PERSON) else "",
            template.startswith(OBLIQUE),
        )

    def _distractors(self) -> Iterator[Write]:
        if self._rng.random() < PLAN_SHARE:
            yield self._distractor("plan", self._anytime())
        if self._length > 1 and self._rng.random() < QUOTE_SHARE:
            n = self._rng.randrange(1, self._length)
            after = self._days[n] + timedelta(days=self._rng.randint(*AFTERWARDS_DAYS))
            yield self._distractor("quote", after, self._values[n - 1])
        if self._rng.random() < ASIDE_SHARE:
            yield self._distractor("aside", self._anytime())
        if self._others and self._rng.random() < COPY_SHARE:
            other = self._others.pop(self._rng.randrange(len(self._others)))
            yield self._copy(other)

    def _copy(self, other: Subject) -> Write:
        """The latest statement once more, word for word but for its subject."""
        latest = _said(self._told[-1])
        text = latest.text
        for name in self._subject.names:
            text = text.replace(name, other.usual)
        said = replace(latest, text=text, speaker=other.usual if latest.speaker else "")
        return Write(self._anytime(), self._key, "copy", said)

    def _distractor(self, told: str, at: datetime, old: str = "") -> Write:
        never_true = self._rng.choice(self._values[self._length : -1])  # the last one is what a correction corrects
        return Write(at, self._key, told, self._sentence(told, never_true, old))

    def _anytime(self) -> datetime:
        return self._moment(self._rng.randrange(LAST_DAY))

    def _asked(self, right: Sentence | None) -> Iterator[Asked]:
        now = self._sentence("now")
        if self._kind == "ended":
            yield Asked(self._kind, self._key, now, None, ended=self._told[-1])
        else:
            yield self._question(now, self._told[-1], right)
        changes = self._length > 1 or self._kind == "ended"
        if changes or self._rng.random() < THEN_OF_UNCHANGED_SHARE:
            n = self._rng.randrange(self._length - 1) if self._length > 1 else 0
            until = self._days[n + 1] if changes else self._moment(LAST_DAY)
            as_of = self._rng.choice(list(_whole_months(self._days[n], until)))
            then = self._sentence("then", when=f"{as_of:%B %Y}")
            yield self._question(then, self._told[n], right, as_of)

    def _question(self, said: Sentence, gold: Write, right: Sentence | None, as_of: datetime | None = None) -> Asked:
        oblique = said.oblique or (right or _said(gold)).oblique
        content = right.text if right else ""
        return Asked(self._kind, self._key, said, gold, oblique, as_of, content)


def _said(write: Write) -> Sentence:
    if write.said is None:
        raise ValueError("an end has no words")
    return write.said


def _whole_months(begin: datetime, end: datetime) -> Iterator[datetime]:
    """The middle of every calendar month that lies between the two."""
    month = begin
    while True:
        month = (month.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0)
        if (month + timedelta(days=32)).replace(day=1) > end:
            return
        yield month + timedelta(days=14, hours=12)


def _line(fields: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in fields.items() if value}, ensure_ascii=False) + "\n"


def _write_line(write: Write) -> dict[str, Any]:
    return {
        "op": "update" if write.updates else "remember",
        "id": write.updates.memory_id if write.updates else write.memory_id,
        "at": _stamp(write.at),
        "text": write.said.text if write.said else "",
        "speaker": write.said.speaker if write.said and not write.updates else "",
        "supersedes": write.supersedes.memory_id if write.supersedes else "",
        "valid_to": _stamp(write.valid_to),
        "fact": write.fact,
        "told": write.told,
    }


def _question_line(asked: Asked, question_id: str) -> dict[str, Any]:
    return {
        "id": question_id,
        "kind": asked.kind,
        "fact": asked.fact,
        "question": asked.said.text,
        "oblique": asked.oblique,
        "as_of": _stamp(asked.as_of),
        "gold": asked.gold.memory_id if asked.gold else "",
        "content": asked.content,
        "ended": asked.ended.memory_id if asked.ended else "",
    }


def _stamp(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""
