"""Spans of operations (tools, agents, workflows, retrieval) and attributes from the context of a call."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from itertools import islice
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from .._compat.span_attributes import limits_of, make_encodable, set_attributes, set_lazily
from .._errors import attempt
from .._read import put
from .._text import encodable
from ..capture import worker
from ..capture.failure import error_type
from ..context import state
from ..context.collect import Calls
from ..context.operation import Operation
from ..context.score import Score
from ..model import CallContext, Document, PromptUse, RequestContent
from ..model.call_stages import FinishedCall
from . import names
from .attributes import Attributes, describe_exception
from .bridges import add_bridges
from .content import describe_content
from .content_policy import ContentPolicy
from .start_attributes import SpanWriter
from .truncate import dumps, map_text

if TYPE_CHECKING:
    from .spans import SpanEmitter

_DATABASE = (
    *(names.DB_SYSTEM, names.DB_OPERATION, names.DB_COLLECTION, names.DB_NAMESPACE),
    *(names.SERVER_ADDRESS, names.SERVER_PORT),
)
"""Attributes of the fields of a ``Database``."""
_MAX_DEPTH = 12
_MAX_DOCUMENTS = 16
"""Documents written as numbered attributes, three or four each: a span keeps 128 attributes in all."""


class Annotator(Protocol):
    """Sender of scores to a backend that stores them apart from spans."""

    def post(self, score: Score) -> None:
        """Queue ``score`` without waiting for the backend's response."""


def describe_context(call: FinishedCall, options: SpanEmitter, into: Attributes) -> None:
    """Add tags, prompt and documents from the enclosing blocks of a call."""
    context = call.call_context
    _describe_tags(context, into)
    if call.response.documents:
        _describe_documents(names.RERANK_OUTPUT, call.response.documents, None, into)
    documents, prompt = context.documents, context.prompt
    if prompt is None and not documents:
        return
    policy = options.content
    if prompt is not None:
        _describe_prompt(prompt, policy if policy.records_on_span(context.capture_content) else None, into)
    if documents:
        into[names.DOCUMENT_IDS] = [document.id for document in documents]
        if policy.records_on_span(context.capture_content):
            _describe_documents(names.DOCUMENTS, documents, policy, into)


def _describe_tags(context: CallContext, into: Attributes) -> None:
    for name, value in (
        (names.FEATURE, context.feature),
        (names.USER, context.user),
        (names.SESSION, context.session),
        (names.TENANT, context.tenant),
    ):
        if value is not None:
            into[name] = value
    if context.tags:
        into[names.TAGS] = context.tags
    for key, item in context.metadata.items():
        into[names.TAG + key] = item
    if context.metadata or context.feature is not None:
        # Write all metadata as one attribute too: backends show it, but cannot search its keys.
        metadata = context.metadata if context.feature is None else {"feature": context.feature, **context.metadata}
        into[names.METADATA] = dumps(metadata)


def _describe_prompt(prompt: PromptUse, policy: ContentPolicy | None, into: Attributes) -> None:
    values = {
        names.PROMPT_NAME: prompt.name,
        names.PROMPT_VERSION: prompt.version,
        names.PROMPT_LABEL: prompt.label,
        names.PROMPT_HASH: prompt.hash,
        names.PROMPT_COMMIT: prompt.commit,
    }
    put(into, values)
    if policy is None or "inputs" in policy.hidden or "prompts" in policy.hidden:
        return
    if prompt.template is not None:
        into[names.PROMPT_TEMPLATE] = policy.text(prompt.template)
    if prompt.variables:
        variables = _to_json_types(prompt.variables)
        into[names.PROMPT_VARIABLES] = policy.json(variables)
        for key, value in variables.items():
            into[names.PROMPT_VARIABLE + key] = policy.text(value) if isinstance(value, str) else policy.json(value)


def _describe_documents(
    prefix: str, documents: Iterable[Document], policy: ContentPolicy | None, into: Attributes
) -> None:
    """Add documents under numbered names, as OpenInference specifies."""
    for index, document in enumerate(islice(documents, _MAX_DOCUMENTS)):
        name = f"{prefix}{index}.document."
        put(into, {name + "id": document.id, name + "score": document.score})
        if policy is not None:
            if document.content is not None and "outputs" not in policy.hidden:
                into[name + "content"] = policy.text(document.content)
            if document.metadata and "outputs" not in policy.hidden:
                into[name + "metadata"] = policy.json(_to_json_types(document.metadata))


@dataclass(eq=False)
class OperationSpans(SpanWriter):
    """Emitter of one span for each operation of the program and one event for each score."""

    _: KW_ONLY
    rollup: bool = False
    annotator: Annotator | None = None
    observe: Callable[[Operation], None] | None = None

    def reads_content(self, context: CallContext) -> bool:
        """Return True if the content of an operation with that context is recorded."""
        return self.content.records_on_span(context.capture_content)

    def begin(self, operation: Operation, outer: Context) -> Context:
        """Start the span of an operation, in the context ``outer``. Return the context for everything inside."""
        worker.start()  # it may have to end the span
        tracer = self.tracer(operation.client)
        attributes = None
        if self.start_attributes.needed_by(tracer):
            attributes = _start_attributes(operation)
            self.content.clean(attributes)
            make_encodable(attributes)
        title, kind = _KINDS[operation.kind]
        # The convention keeps the data source out of the name of a search.
        if operation.name is not None and operation.kind != "retrieval":
            title = encodable(f"{title} {self.content.label(operation.name)}")
        operation.span = tracer.start_span(title, operation.parent or outer, kind=kind, attributes=attributes)
        return state.with_span(outer, operation.span)

    def record_error(self, operation: Operation, error: BaseException) -> None:
        """Add the event of an exception to the span of an operation."""
        self._add_exception(operation, error)

    def _add_exception(self, operation: Operation, error: BaseException) -> Attributes:
        event = describe_exception(error, self.content, with_content=operation.reads_content)
        operation.span.add_event(names.EXCEPTION, event)
        return event

    def end(self, operation: Operation) -> None:
        """End the span of an operation.

        It ends on the worker thread after the pricing of the calls inside, if these are summed up, and also if a
        generator was left early: the thread of the collector, which closes it, may hold any lock.
        """
        operation.duration = perf_counter() - operation.started
        error = operation.error
        if isinstance(error, GeneratorExit):
            operation.error = GeneratorExit()  # without the frames
        if operation.calls is None and (error is None or not _is_left_early(error)):
            self._end(operation, None)
        else:
            worker.submit(partial(self._end, operation, time_ns()))

    def _end(self, operation: Operation, end_time: int | None) -> None:
        if self.observe is not None:
            attempt("record the metrics of an operation", self.observe, operation)
        span = operation.span
        try:
            if not self._write_lazily(operation) and span.is_recording():
                self._write(operation)
        finally:
            operation.error = None  # break the cycle: traceback, frame, operation
            span.end(end_time)

    def _write_lazily(self, operation: Operation) -> bool:
        """Postpone the attributes until an exporter reads them, if no content, error or sum of calls is written."""
        if operation.error is not None or operation.calls is not None or operation.reads_content:
            return False
        if not set_lazily(operation.span, partial(self._build_lazily, operation)):
            return False
        operation.drop_content()
        return True

    def _build_lazily(self, operation: Operation, existing: dict[str, Any], limit: int) -> Attributes:
        attributes = self._describe(operation, None, existing)
        attributes[names.OUTCOME] = "ok"
        return add_bridges(attributes, self.bridges, existing, limit)

    def _write(self, operation: Operation) -> None:
        span = operation.span
        policy = self.content if operation.reads_content else None
        existing, limit = limits_of(span)
        attributes = self._describe(operation, policy, existing)
        self._describe_end(operation, attributes)
        set_attributes(span, add_bridges(attributes, self.bridges, existing, limit))

    def _describe(self, operation: Operation, policy: ContentPolicy | None, existing: Any) -> Attributes:
        """Return the attributes of an operation, and those that its span has, which the application may have set."""
        start = _start_attributes(operation)
        attributes: Attributes = {}
        _describe_tags(operation.call_context, attributes)
        _DESCRIBERS[operation.kind](operation, policy, attributes)
        _describe_rollup(operation, attributes)
        self.content.clean(start)
        self.content.clean(attributes)
        return {**start, **dict(existing), **attributes}

    def _describe_end(self, operation: Operation, into: Attributes) -> None:
        error = operation.error
        if error is None or isinstance(error, GeneratorExit):
            into[names.OUTCOME] = "ok"  # the caller left the generator early
            return
        if not isinstance(error, Exception):
            into[names.OUTCOME] = "cancelled"
            return
        into[names.OUTCOME] = "error"
        into[names.ERROR_TYPE] = error_type(error)
        event = self._add_exception(operation, error)
        text = str(event.get(names.EXCEPTION_MESSAGE, type(error).__qualname__))
        operation.span.set_status(Status(StatusCode.ERROR, encodable(text)))

    def score(self, score: Score) -> None:
        """Record a score: on its span if that is open, as an event, and through the annotator."""
        score = dataclasses.replace(score, name=self.content.label(score.name), label=self.content.label(score.label))
        if score.explanation is not None:
            score = dataclasses.replace(score, explanation=self.content.text(score.explanation))
        attributes: Attributes = {}
        values = {
            names.EVALUATION_NAME: score.name,
            names.EVALUATION_VALUE: score.value,
            names.EVALUATION_LABEL: score.label,
            names.ERROR_TYPE: error_type(score.error) if isinstance(score.error, BaseException) else score.error,
            names.RESPONSE_ID: score.response_id,
            names.EVALUATION_EXPLANATION: score.explanation,
        }
        put(attributes, values)
        make_encodable(attributes)
        span = score.open_span if score.open_span is not None else _current_span(score)
        if span is not None and span.is_recording():
            span.add_event(names.EVALUATION, attributes)
        if self.events is not None:
            self.events.emit(names.EVALUATION, attributes, _scored_context(score))
        # Skip failed evaluations: the backend's annotations have no field for an error.
        if self.annotator is not None and score.span_id and score.error is None:
            self.annotator.post(score)


def _is_left_early(error: BaseException) -> bool:
    """Return True if a generator is being closed, also one that fails then."""
    return GeneratorExit in (type(error), type(error.__context__))


def _current_span(score: Score) -> Any:
    span = get_current_span()
    return span if score.span_id and span.get_span_context().span_id == score.span_id else None


def _scored_context(score: Score) -> Context:
    """Return the context that attaches an event to the scored span."""
    if not score.span_id:
        return Context()
    ids = SpanContext(score.trace_id, score.span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(ids), Context())


def _start_attributes(operation: Operation) -> Attributes:
    """Return the attributes that are known at the start, which samplers may read."""
    title = _KINDS[operation.kind][0]
    attributes: Attributes = {names.operation_key(title): title}
    if operation.name is not None:
        for key in names.NAME_KEYS[operation.kind]:
            attributes[key] = operation.name
    if operation.kind == "tool":
        attributes[names.TOOL_TYPE] = "function"
    return attributes


def _describe_tool(operation: Operation, policy: ContentPolicy | None, into: Attributes) -> None:
    values = {
        names.AGENT_NAME: operation.agent,
        names.TOOL_CALL_ID: operation.call_id,
        names.TOOL_DESCRIPTION: operation.description or None,
    }
    put(into, values)
    if policy is not None:
        if operation.arguments is not None and "inputs" not in policy.hidden:
            into[names.TOOL_ARGUMENTS] = policy.json(_json_object("arguments", operation.arguments))
        if operation.result is not None and "outputs" not in policy.hidden:
            into[names.TOOL_RESULT] = policy.json(_json_object("result", operation.result))


def _describe_run(operation: Operation, policy: ContentPolicy | None, into: Attributes) -> None:
    """Add input and output of an agent or a workflow, as one message each.

    A missing input is replaced by the first input of the calls inside, a missing output by their last output.
    """
    if policy is None:
        return
    if operation.arguments and "inputs" not in policy.hidden:
        into[names.INPUT_MESSAGES] = policy.json([_message("user", operation.arguments)])
    if operation.result is not None and "outputs" not in policy.hidden:
        message = {
            **_message("assistant", operation.result),
            "finish_reason": "stop" if operation.error is None else "error",
        }
        into[names.OUTPUT_MESSAGES] = policy.json([message])
    request = RequestContent(messages=list(operation.first_input[1])) if operation.first_input is not None else None
    nested = describe_content(
        None if names.INPUT_MESSAGES in into else request,
        [] if names.OUTPUT_MESSAGES in into else list(operation.last_output),
        policy.with_mode(operation.call_context.capture_content).limited_to(operation.span),
        partial=operation.error is not None,
    )
    into.update(nested.attributes)


def _message(role: str, value: Any) -> dict[str, Any]:
    """Return a message whose text is ``value``, or JSON for other types.

    A single argument is written without its name: ``run(question)`` becomes a message with the question.
    """
    plain = _to_json_types(value)
    if isinstance(plain, dict) and len(plain) == 1 and role == "user":
        plain = next(iter(plain.values()))
    text = plain if isinstance(plain, str) else dumps(map_text(plain, str, lambda blob: blob))
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _describe_retrieval(operation: Operation, policy: ContentPolicy | None, into: Attributes) -> None:
    put(into, {names.TOP_K: operation.top_k})
    if operation.database is not None:
        put(into, dict(zip(_DATABASE, operation.database, strict=True)))
    if policy is not None and operation.query is not None and "inputs" not in policy.hidden:
        into[names.QUERY] = policy.text(operation.query)
    if not operation.documents:
        return
    into[names.DOCUMENT_IDS] = [document.id for document in operation.documents]
    with_content = policy is not None and "outputs" not in policy.hidden
    rows = [_document_row(document, with_content) for document in operation.documents]
    # Write ids and scores with content off too. Phoenix drops the complete list if one document has no score.
    into[names.RETRIEVED] = policy.json(rows) if policy is not None else dumps(rows)
    _describe_documents(names.DOCUMENTS, operation.documents, policy, into)


def _document_row(document: Document, with_content: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"id": document.id}
    if document.score is not None and math.isfinite(document.score):
        row["score"] = document.score
    if with_content and document.content is not None:
        row["content"] = document.content
    if with_content and document.metadata:
        row["metadata"] = _to_json_types(document.metadata)
    return row


def _describe_rerank(operation: Operation, policy: ContentPolicy | None, into: Attributes) -> None:
    put(into, {names.RERANK_TOP_K: operation.top_k, names.RERANK_MODEL: operation.name})
    if policy is not None and operation.query is not None and "inputs" not in policy.hidden:
        into[names.RERANK_QUERY] = policy.text(operation.query)
    if operation.documents:
        into[names.DOCUMENT_IDS] = [document.id for document in operation.documents]
    _describe_documents(names.RERANK_INPUT, operation.input_documents, policy, into)
    _describe_documents(names.RERANK_OUTPUT, operation.documents, policy, into)


def _describe_rollup(operation: Operation, into: Attributes) -> None:
    """Add the totals of the calls inside, under names that no backend sums up a second time."""
    # Do not wait for pending calls: this thread is the one that adds them.
    calls = None if operation.calls is None else Calls(operation.calls.snapshot())
    if calls is None:
        return
    usage, unpriced = calls.usage, calls.unpriced
    put(into, {names.ROLLUP_CALLS: len(calls), names.ROLLUP_INPUT: usage.input, names.ROLLUP_OUTPUT: usage.output})
    if unpriced < len(calls):
        total = calls.cost.total
        into[names.ROLLUP_COST], into[names.ROLLUP_COST_EXACT] = float(total), f"{total:f}"
    if unpriced:
        into[names.ROLLUP_UNPRICED] = unpriced


def _json_object(name: str, value: Any) -> Any:
    """Return a JSON object, which arguments and results of tools must be."""
    converted = _to_json_types(value)
    return converted if isinstance(converted, dict) else {name: converted}


def _to_json_types(value: Any, depth: int = 0) -> Any:
    """Return ``value`` as JSON types; the name of its type if that is not possible."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return encodable(value)
    if depth < _MAX_DEPTH:
        try:
            return _convert(value, depth + 1)
        except Exception as error:  # reading application objects may raise anything
            del error
    return f"<{type(value).__qualname__}>"


def _convert(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _to_json_types(item, depth) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_to_json_types(item, depth) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json_types(getattr(value, field.name), depth) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return _to_json_types(dump(), depth) if callable(dump) else f"<{type(value).__qualname__}>"


_KINDS: dict[str, tuple[str, SpanKind]] = {
    "tool": ("execute_tool", SpanKind.INTERNAL),
    "agent": ("invoke_agent", SpanKind.INTERNAL),
    "workflow": ("invoke_workflow", SpanKind.INTERNAL),
    "retrieval": ("retrieval", SpanKind.INTERNAL),
    "rerank": ("rerank", SpanKind.CLIENT),
}
"""Operation and span kind by kind of operation."""
_DESCRIBERS: dict[str, Callable[[Operation, ContentPolicy | None, Attributes], None]] = {
    "tool": _describe_tool,
    "agent": _describe_run,
    "workflow": _describe_run,
    "retrieval": _describe_retrieval,
    "rerank": _describe_rerank,
}
