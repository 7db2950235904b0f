"""What surrounds a call as attributes, and the spans of the program's own work."""

from __future__ import annotations

import dataclasses
import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from time import time_ns
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from .._errors import log_internal_error
from .._text import encodable
from ..capture import worker
from ..capture.call import OpenCall
from ..capture.failure import error_type, qualified_name
from ..context.collect import Calls
from ..context.operation import Operation
from ..context.score import Score
from ..model import CallContext, Document, PromptUse, RequestContent
from . import names
from .attributes import Attributes
from .bridges import add_bridges
from .content import describe_content
from .content_policy import ContentPolicy
from .fast_attributes import limits_of, make_encodable, set_attributes
from .truncate import dumps, map_text

__all__ = ["NO_CONTENT", "Annotator", "Content", "OperationSpans", "describe_context"]

_MAX_DEPTH = 12
_MAX_DOCUMENTS = 16
"""Documents told one by one, of three or four attributes each: a span keeps 128, and drops the oldest above that."""


class Content(Protocol):
    """The gate that what was said must pass."""

    def open(self, mode: str | None) -> bool:
        """Whether content is written on spans, where the block around says ``mode``."""

    def hides(self, side: str) -> bool:
        """Whether ``inputs`` or ``outputs`` are to be left out all the same."""

    def json(self, value: Any) -> str:
        """Plain values as JSON, redacted, within the cap."""

    def text(self, value: str) -> str:
        """One text, redacted, within the cap."""

    def label(self, value: Any) -> Any:
        """Redact a name, a tag or a list of them, which are written with content off too."""

    def clean(self, attributes: dict[str, Any]) -> None:
        """Redact the attributes that are no content but free text, in place."""


class NoContent:
    """Lets no content through."""

    def open(self, mode: str | None) -> bool:
        return False

    def hides(self, side: str) -> bool:
        return True

    def json(self, value: Any) -> str:
        return dumps(value)

    def text(self, value: str) -> str:
        return value

    def label(self, value: Any) -> Any:
        return value

    def clean(self, attributes: dict[str, Any]) -> None: ...


NO_CONTENT = NoContent()


class Annotator(Protocol):
    """Sends scores to a backend that keeps them apart from spans. It must not wait for an answer."""

    def post(self, score: Score) -> None: ...


class EventEmitter(Protocol):
    """What is emitted through the logs API."""

    def emit(self, name: str, attributes: Attributes, context: Context) -> None: ...


def describe_context(call: OpenCall, options: object, into: Attributes) -> None:
    """What the blocks around a call say, on its span."""
    scope = call.call_context
    _describe_tags(scope, into)
    documents, prompt = scope.documents, scope.prompt
    if prompt is None and not documents:
        return
    content: Content = getattr(options, "content", NO_CONTENT)
    if prompt is not None:
        _describe_prompt(prompt, content if content.open(scope.capture_content) else None, into)
    if documents:
        into[names.DOCUMENT_IDS] = [document.id for document in documents]
        if content.open(scope.capture_content):
            _describe_each(names.DOCUMENTS, documents, content, into)


def _describe_tags(scope: CallContext, into: Attributes) -> None:
    for name, value in (
        (names.FEATURE, scope.feature),
        (names.USER, scope.user),
        (names.SESSION, scope.session),
        (names.TENANT, scope.tenant),
    ):
        if value is not None:
            into[name] = value
    if scope.tags:
        into[names.TAGS] = scope.tags
    for key, free in scope.metadata.items():
        into[names.TAG + key] = free
    if scope.metadata or scope.feature is not None:
        # Backends show this one; those that search cannot look inside it, hence each key apart as well.
        told = scope.metadata if scope.feature is None else {"feature": scope.feature, **scope.metadata}
        into[names.METADATA] = dumps(told)


def _describe_prompt(prompt: PromptUse, content: Content | None, into: Attributes) -> None:
    for name, value in (
        (names.PROMPT_NAME, prompt.name),
        (names.PROMPT_VERSION, prompt.version),
        (names.PROMPT_LABEL, prompt.label),
        (names.PROMPT_HASH, prompt.hash),
        (names.PROMPT_COMMIT, prompt.commit),
    ):
        if value is not None:
            into[name] = value
    if content is None or content.hides("inputs") or content.hides("prompts"):
        return
    if prompt.template is not None:
        into[names.PROMPT_TEMPLATE] = content.text(prompt.template)
    if prompt.variables:
        variables = _plain(prompt.variables)
        into[names.PROMPT_VARIABLES] = content.json(variables)
        for key, value in variables.items():
            into[names.PROMPT_VARIABLE + key] = content.text(value) if isinstance(value, str) else content.json(value)


def _describe_each(prefix: str, documents: Iterable[Document], content: Content | None, into: Attributes) -> None:
    """Documents under numbered names, as OpenInference has them."""
    for index, document in enumerate(islice(documents, _MAX_DOCUMENTS)):
        start = f"{prefix}{index}.document."
        into[start + "id"] = document.id
        if document.score is not None:
            into[start + "score"] = document.score
        if content is not None:
            if document.content is not None and not content.hides("outputs"):
                into[start + "content"] = content.text(document.content)
            if document.metadata and not content.hides("outputs"):
                into[start + "metadata"] = content.json(_plain(document.metadata))


class OperationSpans:
    """Makes a span of each piece of the program's own work, and an event of each score."""

    def __init__(
        self,
        tracer: Callable[[str], Tracer],
        *,
        content: Content = NO_CONTENT,
        error_messages: bool = False,
        rollup: bool = False,
        events: EventEmitter | None = None,
        annotator: Annotator | None = None,
        bridges: Callable[[], Sequence[str]] | None = None,
        observe: Callable[[Operation], None] | None = None,
    ) -> None:
        self._tracer = tracer
        self._content = content
        self._observe = observe
        self._error_messages = error_messages
        self.rollup = rollup
        self._events = events
        self._annotator = annotator
        self._bridges = bridges
        """Those to apply here, where no exporter of ours will."""

    def reads_content(self, scope: CallContext) -> bool:
        return self._content.open(scope.capture_content)

    def begin(self, work: Operation, outer: Context) -> Context:
        operation, kind, name = _KINDS[work.kind]
        attributes: Attributes = {names.OPERATION: operation}
        if name is not None and work.name is not None:
            attributes[name] = work.name
        if work.kind == "tool":
            attributes[names.TOOL_TYPE] = "function"
        self._content.clean(attributes)
        make_encodable(attributes)
        title = operation if work.name is None else encodable(f"{operation} {self._content.label(work.name)}")
        work.span = self._tracer(work.client).start_span(title, work.parent or outer, kind=kind, attributes=attributes)
        return set_span_in_context(work.span, outer)

    def end(self, work: Operation) -> None:
        if self._observe is not None:
            try:
                self._observe(work)
            except Exception:
                log_internal_error("measure a piece of work")
        if work.calls is None:
            self._end(work, None)
        else:
            # Calls that cannot be priced yet are finished by the worker: the sum is known after them.
            worker.submit(partial(self._end, work, time_ns()))

    def _end(self, work: Operation, end_time: int | None) -> None:
        span = work.span
        try:
            if span.is_recording():
                begun: Attributes = {**(getattr(span, "attributes", None) or {})}
                found: Attributes = {}
                content = self._content if self._content.open(work.call_context.capture_content) else None
                _describe_tags(work.call_context, found)
                _DESCRIBERS[work.kind](work, content, found)
                _describe_rollup(work, found)
                self._describe_end(work, content, found)
                self._content.clean(found)
                set_attributes(span, add_bridges({**begun, **found}, self._bridges, *limits_of(span)))
        finally:
            work.error = None  # a traceback holds frames that hold this work
            span.end(end_time)

    def _describe_end(self, work: Operation, content: Content | None, into: Attributes) -> None:
        error = work.error
        if error is None or isinstance(error, GeneratorExit):
            into[names.OUTCOME] = "ok"  # a generator left early is the caller's wish
            return
        if not isinstance(error, Exception):
            into[names.OUTCOME] = "cancelled"
            return
        into[names.OUTCOME] = "error"
        into[names.ERROR_TYPE] = error_type(error)
        event: Attributes = {names.EXCEPTION_TYPE: qualified_name(type(error))}
        text = type(error).__qualname__
        if self._error_messages or content is not None:
            text = event[names.EXCEPTION_MESSAGE] = self._content.text(str(error))
            event[names.EXCEPTION_STACKTRACE] = self._content.text("".join(traceback.format_exception(error)))
        make_encodable(event)
        work.span.add_event(names.EXCEPTION, event)
        work.span.set_status(Status(StatusCode.ERROR, encodable(text)))

    def score(self, score: Score) -> None:
        score = dataclasses.replace(score, name=self._content.label(score.name), label=self._content.label(score.label))
        attributes: Attributes = {names.EVALUATION_NAME: score.name}
        if score.value is not None:
            attributes[names.EVALUATION_VALUE] = score.value
        if score.label is not None:
            attributes[names.EVALUATION_LABEL] = score.label
        if score.response_id is not None:
            attributes[names.RESPONSE_ID] = score.response_id
        if score.explanation is not None:
            score = dataclasses.replace(score, explanation=self._content.text(score.explanation))
            attributes[names.EVALUATION_EXPLANATION] = score.explanation or ""
        make_encodable(attributes)
        span = score.open_span if score.open_span is not None else _current(score)
        if span is not None and span.is_recording():
            span.add_event(names.EVALUATION, attributes)
        if self._events is not None:
            self._events.emit(names.EVALUATION, attributes, _scored_context(score))
        if self._annotator is not None and score.span_id:
            self._annotator.post(score)


def _current(score: Score) -> Any:
    span = get_current_span()
    return span if score.span_id and span.get_span_context().span_id == score.span_id else None


def _scored_context(score: Score) -> Context:
    """The context in which the event belongs to the span that is judged."""
    if not score.span_id:
        return Context()
    ids = SpanContext(score.trace_id, score.span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(ids), Context())


def _describe_tool(work: Operation, content: Content | None, into: Attributes) -> None:
    if work.agent is not None:
        into[names.AGENT_NAME] = work.agent
    if work.description:
        into[names.TOOL_DESCRIPTION] = work.description
    if content is not None:
        if work.arguments is not None and not content.hides("inputs"):
            into[names.TOOL_ARGUMENTS] = content.json(_object("arguments", work.arguments))
        if work.result is not None and not content.hides("outputs"):
            into[names.TOOL_RESULT] = content.json(_object("result", work.result))


def _describe_run(work: Operation, content: Content | None, into: Attributes) -> None:
    """Describe what went into an agent or a workflow, and came out of it, as one message each.

    What it does not say itself is the first input and the last output of the calls inside.
    """
    if content is None:
        return
    if work.arguments and not content.hides("inputs"):
        into[names.INPUT_MESSAGES] = content.json([_message("user", work.arguments)])
    if work.result is not None and not content.hides("outputs"):
        answer = {**_message("assistant", work.result), "finish_reason": "stop" if work.error is None else "error"}
        into[names.OUTPUT_MESSAGES] = content.json([answer])
    if isinstance(content, ContentPolicy):
        asked = RequestContent(messages=list(work.first_input[1])) if work.first_input is not None else None
        gate = content.with_mode(work.call_context.capture_content).limited_to(work.span)
        found = describe_content(
            None if names.INPUT_MESSAGES in into else asked,
            [] if names.OUTPUT_MESSAGES in into else list(work.last_output),
            gate,
            partial=work.error is not None,
        )
        into.update(found.attributes)


def _message(role: str, value: Any) -> dict[str, Any]:
    """Text as it is, also where it is all that a function was given; anything else as JSON."""
    found = _plain(value)
    if isinstance(found, dict) and len(found) == 1 and role == "user":
        found = next(iter(found.values()))
    text = found if isinstance(found, str) else dumps(map_text(found, str, lambda blob: blob))
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _describe_retrieval(work: Operation, content: Content | None, into: Attributes) -> None:
    if work.top_k is not None:
        into[names.TOP_K] = work.top_k
    if content is not None and work.query is not None and not content.hides("inputs"):
        into[names.QUERY] = content.text(work.query)
    if not work.documents:
        return
    into[names.DOCUMENT_IDS] = [document.id for document in work.documents]
    whole = content is not None and not content.hides("outputs")
    listed = [_listed(document, whole) for document in work.documents]
    # Ids and scores are no content, but one document without a score makes a reader of the list drop it whole.
    into[names.RETRIEVED] = content.json(listed) if content is not None else NO_CONTENT.json(listed)
    _describe_each(names.DOCUMENTS, work.documents, content, into)


def _listed(document: Document, whole: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"id": document.id}
    if document.score is not None and math.isfinite(document.score):
        found["score"] = document.score
    if whole and document.content is not None:
        found["content"] = document.content
    if whole and document.metadata:
        found["metadata"] = _plain(document.metadata)
    return found


def _describe_rerank(work: Operation, content: Content | None, into: Attributes) -> None:
    if work.top_k is not None:
        into[names.RERANK_TOP_K] = work.top_k
    if work.name is not None:
        into[names.RERANK_MODEL] = work.name
    if content is not None and work.query is not None and not content.hides("inputs"):
        into[names.RERANK_QUERY] = content.text(work.query)
    if work.documents:
        into[names.DOCUMENT_IDS] = [document.id for document in work.documents]
    _describe_each(names.RERANK_GIVEN, work.input_documents, content, into)
    _describe_each(names.RERANK_KEPT, work.documents, content, into)


def _describe_rollup(work: Operation, into: Attributes) -> None:
    """The sum of the calls inside, under names that no backend adds up a second time."""
    # Those here by now: this runs on the very thread that adds them.
    calls = None if work.calls is None else Calls(work.calls.snapshot())
    if calls is None:
        return
    usage, unpriced = calls.usage, calls.unpriced
    into[names.ROLLUP_CALLS] = len(calls)
    if usage.input is not None:
        into[names.ROLLUP_INPUT] = usage.input
    if usage.output is not None:
        into[names.ROLLUP_OUTPUT] = usage.output
    if unpriced < len(calls):
        total = calls.cost.total
        into[names.ROLLUP_COST], into[names.ROLLUP_COST_EXACT] = float(total), f"{total:f}"
    if unpriced:
        into[names.ROLLUP_UNPRICED] = unpriced


def _object(name: str, value: Any) -> Any:
    """Tools' arguments and results are JSON objects."""
    found = _plain(value)
    return found if isinstance(found, dict) else {name: found}


def _plain(value: Any, depth: int = 0) -> Any:
    """As JSON has it: mappings, lists, text, numbers, truth values. Of anything else, its type's name."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return encodable(value)
    if depth < _MAX_DEPTH:
        try:
            return _opened(value, depth + 1)
        except Exception as error:  # the program's own objects may do anything when they are looked into
            del error
    return f"<{type(value).__qualname__}>"


def _opened(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _plain(item, depth) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), depth) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return _plain(dump(), depth) if callable(dump) else f"<{type(value).__qualname__}>"


_KINDS: dict[str, tuple[str, SpanKind, str | None]] = {
    "tool": ("execute_tool", SpanKind.INTERNAL, names.TOOL_NAME),
    "agent": ("invoke_agent", SpanKind.INTERNAL, names.AGENT_NAME),
    "workflow": ("invoke_workflow", SpanKind.INTERNAL, names.WORKFLOW_NAME),
    "retrieval": ("retrieval", SpanKind.CLIENT, names.DATA_SOURCE),
    "rerank": ("rerank", SpanKind.CLIENT, names.REQUEST_MODEL),
}
_DESCRIBERS: dict[str, Callable[[Operation, Content | None, Attributes], None]] = {
    "tool": _describe_tool,
    "agent": _describe_run,
    "workflow": _describe_run,
    "retrieval": _describe_retrieval,
    "rerank": _describe_rerank,
}
