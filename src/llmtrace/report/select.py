"""Selections of calls: a time window and conditions on dimensions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from functools import lru_cache

from ..store.read import ALL_TIMES, Window
from ..store.schema import DIMENSION_COLUMNS

TIMES = {"hour": 3600, "day": 86400, "week": 7 * 86400, "month": 0}
ROWS = ("user", "session")
_ALIASES = {
    "model": ("request_model", "response_model"),
    "version": ("prompt_version",),
    "error": ("error_type",),
    "end": ("stream_end",),
}
DIMENSIONS = ("feature", "model", "provider", "prompt", "version", "user", "tenant", "day", "tag", *_ALIASES,
              *DIMENSION_COLUMNS, *TIMES, *ROWS)  # fmt: skip
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_VALUE_CHARS = 1000
"""Maximum characters in the value of a condition."""
_AGE = re.compile(r"([0-9]{1,6})\s*([mhdw])")


class QueryError(ValueError):
    """Error for a query that is not valid. The message is one line and states what is accepted."""


@lru_cache(maxsize=256)
def _pattern(text: str) -> Callable[[str], object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns that "[[" may change its meaning
        return re.compile(translate(text)).match


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``--where`` condition: a dimension, and a value or shell pattern that it must or must not match."""

    dimension: str
    value: str
    wanted: bool = True

    def holds(self, values: Iterable[str | None]) -> bool:
        """Return True if the values of the dimension meet the condition; ``None`` matches an empty pattern."""
        matches = _pattern(self.value)
        matched = any(matches("" if value is None else value) is not None for value in values)
        return matched is self.wanted


@dataclass(frozen=True, slots=True)
class Selection:
    """A time window, and conditions that must all hold."""

    window: Window = ALL_TIMES
    where: tuple[Condition, ...] = field(default=())


def selection(
    since: str | None = None, until: str | None = None, where: Sequence[str] = (), *, now: datetime | None = None
) -> Selection:
    """Build a selection from the values of ``--since``, ``--until`` and ``--where``.

    Raises:
        QueryError: One of the values is not valid.
    """
    now = now or datetime.now(UTC)
    first, last = (
        bound if text is None else (parse_time(text, now) - _EPOCH) // timedelta(microseconds=1)
        for text, bound in zip((since, until), ALL_TIMES, strict=True)
    )
    if first >= last:
        raise QueryError(f"--since {shortened(str(since))} is not before --until {shortened(str(until))}")
    return Selection(Window(first, last), tuple(_condition(text) for text in where))


def parse_time(text: str, now: datetime) -> datetime:
    """Parse a point in time.

    Accepted are an age (``90m``, ``24h``, ``7d``, ``2w``), ``now``, ``today``, ``yesterday``, and an ISO date or time.
    """
    word = text.strip().lower()
    age = _AGE.fullmatch(word)
    if age:
        try:
            return now - timedelta(seconds=int(age[1]) * _UNITS[age[2]])
        except OverflowError:
            raise QueryError(f"{shortened(text)!r} is before the year 1; use a shorter age") from None
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if word == "now":
        return now
    if word in ("today", "yesterday"):
        return midnight - timedelta(days=word == "yesterday")
    try:
        parsed = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise QueryError(
            f"{shortened(text)!r} is not a valid time: "
            "use an age (90m, 24h, 7d, 2w), today, yesterday, or a date (2026-01-31)"
        ) from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


def shortened(text: str) -> str:
    """Shorten the user's input to a length that fits into a message."""
    return text if len(text) <= 60 else f"{text[:59]}…"


def _condition(text: str) -> Condition:
    key, sign, value = text.partition("=")
    if not sign or not key.strip("! "):
        raise QueryError(f"--where {shortened(text)!r} is not a valid condition: use name=value or name!=value")
    wanted = not key.endswith("!")
    (name,) = dimensions([key.rstrip("!").strip()])
    if name in TIMES:
        raise QueryError(f"--where cannot use {name}: select times with --since and --until")
    value = value.strip()
    try:
        if len(value) > _MAX_VALUE_CHARS:
            raise ValueError(f"the value is longer than {_MAX_VALUE_CHARS:,} characters")
        _pattern(value)
    except (ValueError, re.error, RecursionError, OverflowError) as error:
        raise QueryError(f"--where {shortened(text)!r} is not a valid condition: {error}") from None
    return Condition(name, value, wanted)


def dimensions(names: Iterable[str]) -> tuple[str, ...]:
    """Parse and check names of dimensions, separated by commas. ``tag.KEY`` is the free tag with that key."""
    result = []
    for part in names:
        for word in part.split(","):
            name = word.strip()
            if name not in DIMENSIONS and not (name.startswith("tag.") and len(name) > 4):
                listed = ", ".join(dict.fromkeys(DIMENSIONS))
                raise QueryError(f"{shortened(name)!r} is not a valid dimension: use {listed}, or tag.KEY")
            result.append(name)
    return tuple(dict.fromkeys(result))


def columns(dimension: str) -> tuple[str, ...]:
    """Return the columns of table ``dimensions`` for a dimension; the first that is not null counts."""
    return _ALIASES.get(dimension, (dimension,))
