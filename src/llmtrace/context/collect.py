"""Collection of the calls made inside a block, independent of exporters and sampling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from threading import Event
from time import monotonic
from typing import TypeVar, overload

from opentelemetry.context import Context

from .._decimal import CONTEXT, add
from ..model import BILLED_OPERATIONS, Call, Cost, Usage
from ..model.call_stages import FinishedCall
from .blocks import Activation, Block, CallArguments

T = TypeVar("T")

_MAX_WAIT_SECONDS = 10.0
_NO_USAGE = Usage()
_COUNTS = tuple(field.name for field in fields(Usage))


class Calls(Sequence[Call]):
    """The finished calls of a block, in the order in which they ended.

    The sequence grows while calls end, also after the block: a stream that is read later ends later. Every read waits
    up to 10 seconds for calls that have ended but are not priced yet. Only the first calls of a process are priced in
    the background, within about half a second.
    """

    __slots__ = ("_calls", "_expected")

    def __init__(self, calls: Sequence[Call] = ()) -> None:
        self._calls = list(calls)
        self._expected: list[Event] = []

    def expect(self, ended: Event) -> None:
        """Announce a call that will be added once it is priced; ``ended`` is set then."""
        self._expected.append(ended)

    def snapshot(self) -> list[Call]:
        """Return the calls added so far, without waiting for announced ones."""
        return list(self._calls)

    def _wait(self) -> list[Call]:
        """Wait for the announced calls and return all calls."""
        deadline = monotonic() + _MAX_WAIT_SECONDS
        while self._expected:
            self._expected.pop(0).wait(max(0.0, deadline - monotonic()))
        return self.snapshot()

    def add(self, call: Call) -> None:
        """Add a finished call."""
        self._calls.append(call)

    @overload
    def __getitem__(self, index: int) -> Call: ...

    @overload
    def __getitem__(self, index: slice) -> Calls: ...

    def __getitem__(self, index: int | slice) -> Call | Calls:
        calls = self._wait()
        return Calls(calls[index]) if isinstance(index, slice) else calls[index]

    def __len__(self) -> int:
        return len(self._wait())

    def __iter__(self) -> Iterator[Call]:
        return iter(self._wait())

    def __repr__(self) -> str:
        return f"<{len(self)} calls, {self.cost.total:f} {self.cost.currency}, {self.unpriced} unpriced>"

    @property
    def cost(self) -> Cost:
        """Sum of the costs in US dollars. ``unpriced`` is the number of calls that are not part of it."""
        costs = [call.cost for call in self._wait() if call.cost is not None and call.cost.currency == "USD"]
        parts: dict[str, Decimal] = {}
        for cost in costs:
            for name, amount in cost.parts.items():
                parts[name] = CONTEXT.add(parts.get(name, Decimal(0)), amount)
        return Cost(
            total=add(cost.total for cost in costs),
            parts=parts,
            source=_single(cost.source for cost in costs) or "mixed",
            catalog_version=_single(cost.catalog_version for cost in costs),
            model=_single(cost.model for cost in costs),
            approximate=any(cost.approximate for cost in costs),
        )

    @property
    def usage(self) -> Usage:
        """Sum of the reported token counts. A count that no call has is ``None``."""
        totals: dict[str, float] = {}
        for call in self._wait():
            for name in _COUNTS:
                count = getattr(call.usage, name)
                if count is not None:
                    totals[name] = totals.get(name, 0) + count
        return Usage(**totals)  # type: ignore[arg-type] # the keys are the field names

    @property
    def unpriced(self) -> int:
        """Number of calls excluded from ``cost``: their cost is unknown or in another currency.

        Calls that bill nothing are not counted: a response fetched again, a token count, or a request that the
        provider or a budget refused.
        """
        return sum(
            not _bills_nothing(call) if call.cost is None else call.cost.currency != "USD" for call in self._wait()
        )


def _bills_nothing(call: Call) -> bool:
    if call.outcome == "blocked":
        return True
    if call.outcome == "error" and call.usage == _NO_USAGE:
        return call.error_type is not None and call.error_type.isdecimal()  # an HTTP status
    return call.unpriced_reason is None and call.operation not in BILLED_OPERATIONS


def _single(values: Iterable[T]) -> T | None:
    """Return the value that all ``values`` are equal to, or ``None`` if they differ or there are none."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


class _Collect(Block[Calls]):
    def _enter(self, activation: Activation, function: CallArguments | None) -> Context:
        activation.payload = Calls()
        activation.call_context = replace(
            activation.call_context, collectors=(*activation.call_context.collectors, activation.payload)
        )
        return activation.outer

    def _value(self, activation: Activation) -> Calls:
        return Calls() if activation.payload is None else activation.payload


def collect() -> Block[Calls]:
    """Collect the finished calls made inside, for example ``with llmtrace.collect() as calls:``.

    Includes the calls of every task or thread that inherits the context. Works without an exporter and with sampling
    off.

    Returns:
        A block whose value is a ``Calls``: a sequence of ``Call`` with the sums ``cost`` and ``usage``.
    """
    return _Collect()


def observe(call: FinishedCall) -> None:
    """Add a finished call to the collectors of its enclosing blocks."""
    collectors = call.call_context.collectors
    if collectors:
        record = call.record()
        for calls in collectors:
            calls.add(record)
