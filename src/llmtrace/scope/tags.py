"""Tags: which feature, user, session and tenant the calls inside serve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from opentelemetry.context import Context

from .._guard import report
from ..facts import Scope
from . import context
from .blocks import Block, Frame, Given
from .values import label, labels, plains

__all__ = ["current", "tag"]

_FIELDS = ("feature", "user", "session", "tenant")


class _Tag(Block[None]):
    def __init__(self, said: dict[str, Any], tags: tuple[str, ...], metadata: dict[str, Any]) -> None:
        super().__init__()
        self._said = said
        self._tags = tags
        self._metadata = metadata

    def _enter(self, frame: Frame, function: Given | None) -> Context:
        said = self._said
        outer = frame.scope
        if self._tags:
            said = {**said, "tags": tuple(dict.fromkeys((*outer.tags, *self._tags)))}
        if self._metadata:
            said = {**said, "metadata": {**outer.metadata, **self._metadata}}
        if said:
            frame.scope = replace(outer, **said)
        return frame.outer


def tag(
    *,
    feature: str | None = None,
    user: str | int | None = None,
    session: str | int | None = None,
    tenant: str | int | None = None,
    tags: str | Iterable[str] = (),
    **metadata: object,
) -> Block[None]:
    """Say of the calls inside which feature, user, session and tenant they serve.

    A context manager (also asynchronous) and a decorator for functions, coroutines and generators of both kinds.
    Nested blocks merge: the inner one wins, tags add up. A value of a wrong type or length is left out or cut,
    with one warning.

    Args:
        feature: What in the program the calls are for. Of few values: it is a dimension of the metrics.
        user: Who they are for.
        session: The conversation or visit they belong to.
        tenant: The customer they are billed to.
        tags: Free labels.
        **metadata: Free keys with text, numbers or truth values.
    """
    said: dict[str, Any] = {}
    free: tuple[str, ...] = ()
    plain: dict[str, Any] = {}
    try:
        for name, value in zip(_FIELDS, (feature, user, session, tenant), strict=True):
            accepted = label(name, value)
            if accepted is not None:
                said[name] = accepted
        free = labels("tags", tags)
        if metadata:
            plain = plains("metadata", metadata)
    except Exception:
        report("read a tag")
    return _Tag(said, free, plain)


def current() -> Scope:
    """What the blocks around this line say of a call made here."""
    return context.scope_of(context.current())
