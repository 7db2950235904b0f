"""Which calls a question is about: a window of time and conditions on what is known of a call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from ..store.schema import FACTS

__all__ = ["DIMENSIONS", "Condition", "Selection", "WrongQuestion", "dimensions", "moment", "selection"]

TIMES = {"hour": 3600, "day": 86400, "week": 7 * 86400, "month": 0}
ROWS = ("user", "session")
_ALIASES = {
    "model": ("request_model", "response_model"),
    "version": ("prompt_version",),
    "error": ("error_type",),
    "end": ("stream_end",),
}
DIMENSIONS = ("feature", "model", "provider", "prompt", "version", "user", "tenant", "day", "tag", *_ALIASES, *FACTS,
              *TIMES, *ROWS)  # fmt: skip
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(\d{1,6})\s*([mhdw])")


class WrongQuestion(ValueError):
    """The question cannot be asked. The message says in one line what can."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``--where``: a dimension, and a value or shell pattern it must, or must not, have."""

    dimension: str
    value: str
    wanted: bool = True

    def holds(self, values: Iterable[str | None]) -> bool:
        found = any(fnmatchcase("" if value is None else value, self.value) for value in values)
        return found is self.wanted


@dataclass(frozen=True, slots=True)
class Selection:
    """A window, half open, in microseconds since the epoch, and the conditions that all hold."""

    since: int | None = None
    until: int | None = None
    where: tuple[Condition, ...] = field(default=())


def selection(
    since: str | None = None, until: str | None = None, where: Sequence[str] = (), *, now: datetime | None = None
) -> Selection:
    """What ``--since``, ``--until`` and ``--where`` say together.

    Raises:
        WrongQuestion: One of them means nothing.
    """
    now = now or datetime.now(UTC)
    first, last = (None if text is None else _micros(moment(text, now)) for text in (since, until))
    if first is not None and last is not None and first >= last:
        raise WrongQuestion(f"--since {since} is not before --until {until}")
    return Selection(first, last, tuple(_condition(text) for text in where))


def moment(text: str, now: datetime) -> datetime:
    """A point in time: an age (``90m``, ``24h``, ``7d``, ``2w``), ``today``, ``yesterday``, or an ISO date or time."""
    word = text.strip().lower()
    age = _SPAN.fullmatch(word)
    if age:
        return now - timedelta(seconds=int(age[1]) * _UNITS[age[2]])
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if word == "now":
        return now
    if word in ("today", "yesterday"):
        return midnight - timedelta(days=word == "yesterday")
    try:
        told = datetime.fromisoformat(text.strip())
    except ValueError:
        raise WrongQuestion(
            f"{text!r} is no time; use an age (90m, 24h, 7d, 2w), today, yesterday, or a date such as 2026-01-31"
        ) from None
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told


def _micros(when: datetime) -> int:
    return int(when.timestamp() * 1e6)


def _condition(text: str) -> Condition:
    key, sign, value = text.partition("=")
    if not sign or not key.strip("! "):
        raise WrongQuestion(f"--where {text!r} is not accepted; use name=value or name!=value, as in feature=search")
    wanted = not key.endswith("!")
    (name,) = dimensions([key.rstrip("!").strip()])
    if name in TIMES:
        raise WrongQuestion(f"--where cannot use {name}; say it with --since and --until")
    return Condition(name, value.strip(), wanted)


def dimensions(names: Iterable[str]) -> tuple[str, ...]:
    """The dimensions meant, each checked. ``tag.KEY`` is the free tag of that key."""
    found = []
    for part in names:
        for word in part.split(","):
            name = word.strip()
            if name not in DIMENSIONS and not (name.startswith("tag.") and len(name) > 4):
                listed = ", ".join(dict.fromkeys(DIMENSIONS[:14]))
                raise WrongQuestion(f"there is no dimension {name!r}; use {listed}, or tag.KEY for a free tag")
            found.append(name)
    return tuple(dict.fromkeys(found))


def columns(dimension: str) -> tuple[str, ...]:
    """The columns of ``facts`` that answer for a dimension, the first that is known wins."""
    return _ALIASES.get(dimension, (dimension,))
