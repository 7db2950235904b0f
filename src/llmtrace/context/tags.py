"""Tags: the feature, user, session and tenant of the calls inside a block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.context import Context

from .._errors import log_internal_error
from ..model import CallContext
from . import state
from .blocks import Activation, Block, CallArguments
from .validation import clean_content_mode, clean_label, clean_labels, clean_values


class _Tag(Block[None]):
    def __init__(self, values: dict[str, Any], tags: tuple[str, ...], metadata: dict[str, Any]) -> None:
        super().__init__()
        self._values = values
        self._tags = tags
        self._metadata = metadata
        self._latest: tuple[CallContext, CallContext] | None = None
        """Outer and inner context of the latest activation: a decorator mostly meets the same outer context again."""

    def _enter(self, activation: Activation, function: CallArguments | None) -> Context:
        latest = self._latest
        outer = activation.call_context
        if latest is not None and latest[0] is outer:
            activation.call_context = latest[1]
            return activation.outer
        activation.call_context = self._merge_into(outer)
        # Do not cache prompts and collectors: a decorator would keep objects of the program alive.
        if outer.prompt is None and not outer.collectors:
            self._latest = outer, activation.call_context
        return activation.outer

    def _merge_into(self, outer: CallContext) -> CallContext:
        value, tags, metadata = self._values.get, outer.tags, outer.metadata
        # Call the constructor: ``dataclasses.replace`` takes twice as long.
        return CallContext(
            feature=value("feature", outer.feature),
            user=value("user", outer.user),
            session=value("session", outer.session),
            tenant=value("tenant", outer.tenant),
            tags=tuple(dict.fromkeys((*tags, *self._tags))) if self._tags else tags,
            metadata={**metadata, **self._metadata} if self._metadata else metadata,
            prompt=outer.prompt,
            documents=outer.documents,
            agent=outer.agent,
            capture_content=value("capture_content", outer.capture_content),
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
    """Record which feature, user, session and tenant the calls inside serve.

    A context manager (also asynchronous) and a decorator for functions, coroutines and generators of both kinds.
    Nested blocks merge: the inner value takes precedence, and tags add up. A value of a wrong type is dropped and a
    value that is too long is cut, with one warning in the log. Nothing is raised.

    Args:
        feature: The part of the program that makes the calls. Use few different values: it is a dimension of the
            metrics.
        user: The user that the calls are made for.
        session: The conversation or visit that the calls belong to.
        tenant: The customer that the calls are billed to.
        tags: Free labels, at most 64.
        capture_content: Overrides the setting ``capture_content`` for the calls inside: a boolean, ``no_content``,
            ``span_only``, ``event_only`` or ``span_and_event``.
        **metadata: Free keys, at most 64, with text, numbers or booleans as values.

    Returns:
        A block to use as ``with tag(...):`` or ``@tag(...)``.
    """
    values: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    cleaned: dict[str, Any] = {}
    try:
        # Read the content mode first: an error in another value must not undo "record no content".
        if capture_content is not None:
            values["capture_content"] = clean_content_mode(capture_content)
        for name, value in (("feature", feature), ("user", user), ("session", session), ("tenant", tenant)):
            if value is not None and (label := clean_label(name, value)) is not None:
                values[name] = label
        if metadata:
            cleaned = clean_values("metadata", metadata)
        if tags:  # last: iterating may run code of the program, which may raise
            labels = clean_labels("tags", tags)
    except Exception:
        log_internal_error("read a tag")
    return _Tag(values, labels, cleaned)


def current() -> CallContext:
    """Return the context that a call made here would get: tags, metadata, prompt, documents and agent.

    Returns:
        The merged context of the enclosing blocks, with the values that upstream services sent in baggage.
    """
    return state.call_context_of(state.current())
