"""The calls made inside a block, whether or not anything is exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from threading import Event
from time import monotonic
from typing import Protocol, TypeVar, overload

from opentelemetry.context import Context

from .._decimal import CONTEXT, add
from ..model import BILLED_OPERATIONS, Call, CallContext, Cost, Usage
from .blocks import Activation, Block, CallArguments

__all__ = ["Calls", "collect", "observe"]

T = TypeVar("T")

_MAX_WAIT_SECONDS = 10.0
_NO_USAGE = Usage()
_COUNTS = tuple(field.name for field in fields(Usage))


class FinishedCall(Protocol):
    """A call that has ended."""

    call_context: CallContext

    def record(self) -> Call: ...


class Calls(Sequence[Call]):
    """The finished calls of a block, in the order in which they ended.

    It grows while calls end, also after the block: a stream that is read later ends later. To read it waits for calls
    that have ended but are still being priced, which the first ones of a process are, for half a second.
    """

    __slots__ = ("_calls", "_expected")

    def __init__(self, calls: Sequence[Call] = ()) -> None:
        self._calls = list(calls)
        self._expected: list[Event] = []

    def expect(self, ended: Event) -> None:
        """Hear of a call that will be added once it is priced; ``ended`` is set then."""
        self._expected.append(ended)

    def now(self) -> list[Call]:
        """The calls that are here already."""
        return list(self._calls)

    def _ended(self) -> list[Call]:
        patience = monotonic() + _MAX_WAIT_SECONDS
        while self._expected:
            self._expected.pop(0).wait(max(0.0, patience - monotonic()))
        return self.now()

    def add(self, call: Call) -> None:
        """Take in a call that has ended."""
        self._calls.append(call)

    @overload
    def __getitem__(self, index: int) -> Call: ...

    @overload
    def __getitem__(self, index: slice) -> Calls: ...

    def __getitem__(self, index: int | slice) -> Call | Calls:
        found = self._ended()
        return Calls(found[index]) if isinstance(index, slice) else found[index]

    def __len__(self) -> int:
        return len(self._ended())

    def __iter__(self) -> Iterator[Call]:
        return iter(self._ended())

    def __repr__(self) -> str:
        return f"<{len(self)} calls, {self.cost.total:f} {self.cost.currency}, {self.unpriced} without a price>"

    @property
    def cost(self) -> Cost:
        """The sum of what is known; ``unpriced`` says of how many calls it is not."""
        costs = [call.cost for call in self._ended() if call.cost is not None and call.cost.currency == "USD"]
        parts: dict[str, Decimal] = {}
        for cost in costs:
            for name, amount in cost.parts.items():
                parts[name] = CONTEXT.add(parts.get(name, Decimal(0)), amount)
        return Cost(
            total=add(cost.total for cost in costs),
            parts=parts,
            source=_one(cost.source for cost in costs) or "mixed",
            catalog_version=_one(cost.catalog_version for cost in costs),
            model=_one(cost.model for cost in costs),
            approximate=any(cost.approximate for cost in costs),
        )

    @property
    def usage(self) -> Usage:
        """The sum of what the providers told. A count that none of them told stays unknown."""
        told: dict[str, float] = {}
        for call in self._ended():
            for name in _COUNTS:
                count = getattr(call.usage, name)
                if count is not None:
                    told[name] = told.get(name, 0) + count
        return Usage(**told)  # type: ignore[arg-type] # by its field names

    @property
    def unpriced(self) -> int:
        """The number of calls that ``cost`` leaves out: without a price, or with one in another currency.

        Calls that bill nothing are not among them: a response that is fetched again, tokens that are counted, a
        request that the provider or a budget refused.
        """
        return sum(
            not _bills_nothing(call) if call.cost is None else call.cost.currency != "USD" for call in self._ended()
        )


def _bills_nothing(call: Call) -> bool:
    if call.outcome == "blocked":
        return True
    if call.outcome == "error" and call.usage == _NO_USAGE:
        return call.error_type is not None and call.error_type.isdecimal()  # an HTTP status
    return call.unpriced_reason is None and call.operation not in BILLED_OPERATIONS


def _one(values: Iterable[T]) -> T | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


class _Collect(Block[Calls]):
    def _enter(self, frame: Activation, function: CallArguments | None) -> Context:
        frame.work = Calls()
        frame.scope = replace(frame.scope, collectors=(*frame.scope.collectors, frame.work))
        return frame.outer

    def _value(self, frame: Activation) -> Calls:
        return Calls() if frame.work is None else frame.work


def collect() -> Block[Calls]:
    """``with collect() as calls``: the finished calls made inside, in any task or thread that inherits the context.

    Works with no exporter and with sampling off.
    """
    return _Collect()


def observe(call: FinishedCall) -> None:
    """Give a call that has ended to the blocks around it."""
    collectors = call.call_context.collectors
    if collectors:
        record = call.record()
        for calls in collectors:
            calls.add(record)
