"""Tags: which feature, user, session and tenant the calls inside serve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.context import Context

from .._errors import log_internal_error
from ..model import CallContext
from . import state
from .blocks import Activation, Block, CallArguments
from .validation import clean_content_mode, clean_label, clean_labels, clean_values

__all__ = ["current", "tag"]


class _Tag(Block[None]):
    def __init__(self, values: dict[str, Any], tags: tuple[str, ...], metadata: dict[str, Any]) -> None:
        super().__init__()
        self._said = values
        self._tags = tags
        self._metadata = metadata
        self._latest: tuple[CallContext, CallContext] | None = None
        """What was around the latest passage, and what was inside: a decorator mostly meets the same again."""

    def _enter(self, frame: Activation, function: CallArguments | None) -> Context:
        latest = self._latest
        outer = frame.scope
        if latest is not None and latest[0] is outer:
            frame.scope = latest[1]
            return frame.outer
        frame.scope = self._inside(outer)
        if outer.prompt is None and not outer.collectors:  # nothing of the program's is kept alive by a decorator
            self._latest = outer, frame.scope
        return frame.outer

    def _inside(self, outer: CallContext) -> CallContext:
        said, tags, metadata = self._said.get, outer.tags, outer.metadata
        # ``dataclasses.replace`` takes twice as long.
        return CallContext(
            feature=said("feature", outer.feature),
            user=said("user", outer.user),
            session=said("session", outer.session),
            tenant=said("tenant", outer.tenant),
            tags=tuple(dict.fromkeys((*tags, *self._tags))) if self._tags else tags,
            metadata={**metadata, **self._metadata} if self._metadata else metadata,
            prompt=outer.prompt,
            documents=outer.documents,
            agent=outer.agent,
            capture_content=said("capture_content", outer.capture_content),
            collectors=outer.collectors,
        )


def tag(
    *,
    feature: str | None = None,
    user: str | int | None = None,
    session: str | int | None = None,
    tenant: str | int | None = None,
    tags: str | Iterable[str] = (),
    capture_content: bool | str | None = None,
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
        capture_content: Whether what is said in the calls inside is written, whatever the setting says: a truth value
            or one of the setting's words.
        **metadata: Free keys with text, numbers or truth values.
    """
    said: dict[str, Any] = {}
    free: tuple[str, ...] = ()
    plain: dict[str, Any] = {}
    try:
        if capture_content is not None:  # first: what is wrong with another value writes no content
            said["capture_content"] = clean_content_mode(capture_content)
        for name, value in (("feature", feature), ("user", user), ("session", session), ("tenant", tenant)):
            if value is not None and (accepted := clean_label(name, value)) is not None:
                said[name] = accepted
        if metadata:
            plain = clean_values("metadata", metadata)
        if tags:  # last: the program's own code runs here
            free = clean_labels("tags", tags)
    except Exception:
        log_internal_error("read a tag")
    return _Tag(said, free, plain)


def current() -> CallContext:
    """What the blocks around this line say of a call made here."""
    return state.call_context_of(state.current())
