"""Checks of spans, metrics and events against the GenAI conventions and the names that backends read.

``registry.json`` and ``schemas`` hold the conventions as data, ``backends.json`` the names of backends. A check returns
findings, each without those of the intended deviations.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from llmtrace.telemetry.bridges import bridge_attributes

FOLDER = Path(__file__).parent
REGISTRY: dict[str, Any] = json.loads((FOLDER / "registry.json").read_text(encoding="utf-8"))
TYPES: dict[str, str] = {name: kind for kind, names in REGISTRY["types"].items() for name in names}
BACKENDS: dict[str, Any] = json.loads((FOLDER / "backends.json").read_text(encoding="utf-8"))
CONTENT = {
    "gen_ai.input.messages": "input-messages",
    "gen_ai.output.messages": "output-messages",
    "gen_ai.system_instructions": "system-instructions",
    "gen_ai.tool.definitions": "tool-definitions",
    "gen_ai.retrieval.documents": "retrieval-documents",
}
_INFERENCE = "gen_ai.client.inference"
_PREFIXES = ("gen_ai.", "openai.")
_VALUE_TYPES: dict[str, Any] = {"string": str, "int": int, "double": float, "boolean": bool}


@dataclass(frozen=True)
class Finding:
    """A violation of the conventions."""

    check: str
    subject: str
    """Name of the attribute or the metric that violates them."""
    operation: str | None
    detail: str


@dataclass(frozen=True)
class Deviation:
    """A finding that is intended."""

    check: str
    subject: str
    """Pattern of the attributes or metrics."""
    reason: str
    operations: tuple[str, ...] = ("*",)

    def covers(self, finding: Finding) -> bool:
        """Return True if ``finding`` is this deviation."""
        return (
            self.check == finding.check
            and fnmatchcase(finding.subject, self.subject)
            and any(fnmatchcase(finding.operation or "", pattern) for pattern in self.operations)
        )


DEVIATIONS = (
    Deviation("undeclared", "gen_ai.agent.name", "both names of a workflow are on both of its metrics", ("",)),
    Deviation("undeclared", "gen_ai.usage.cost", "the convention has no cost yet; Langfuse and others read this name"),
    Deviation("undeclared", "gen_ai.usage.cost.*", "the open proposal for the cost, where the user has chosen it"),
    Deviation("undeclared", "gen_ai.usage.cache_creation.input_tokens", "the old name too: many backends read only it"),
    Deviation("undeclared", "gen_ai.workflow.name", "the old name of a workflow too, for one deprecation cycle"),
    Deviation(
        "undeclared",
        "gen_ai.prompt.*",
        "calls other than inference use prompts too",
        ("embeddings", "fetch_*", "invoke_*"),
    ),
    Deviation("undeclared", "gen_ai.usage.*", "a background response reports tokens once fetched", ("fetch_response",)),
    Deviation("undeclared", "gen_ai.usage.output_tokens", "some servers report it, mostly as 0", ("embeddings",)),
    Deviation("undeclared", "gen_ai.request.stream", "these may be streamed too", ("fetch_response", "invoke_agent")),
    Deviation(
        "undeclared",
        "gen_ai.response.time_to_first_chunk",
        "they may be streamed too",
        ("fetch_response", "invoke_agent"),
    ),
    Deviation("undeclared", "gen_ai.response.id", "what can be scored by its id", ("embeddings", "invoke_agent")),
    Deviation("undeclared", "gen_ai.response.model", "the model that ran a hosted agent", ("invoke_agent",)),
    Deviation(
        "enum",
        "gen_ai.response.status",
        "hosted runs have further states, as the vendor spells them",
        ("fetch_response",),
    ),
    Deviation("undeclared", "gen_ai.conversation.id", "the thread of a run that is fetched", ("fetch_response",)),
    Deviation("replaced", "*", "the metric names before v0.1.0 too, for one deprecation cycle"),
    Deviation(
        "operation",
        "gen_ai.client.inference.*",
        "tokens that no other metric counts",
        ("fetch_response", "invoke_agent"),
    ),
)
"""Intended deviations. A change here needs a review."""


def span_type(attributes: Mapping[str, Any], kind: str) -> str | None:
    """Return the type that the registry gives to a span with this operation, of this kind if there are several."""
    operation = attributes.get("gen_ai.operation.name")
    types = [name for name, spec in REGISTRY["spans"].items() if operation in spec["operations"]]
    return next((name for name in types if kind in REGISTRY["spans"][name]["kinds"]), types[0] if types else None)


def check_span(span: ReadableSpan, *, expected: Collection[str] = ()) -> list[Finding]:
    """Return the findings on a span of llmtrace, its events and what bridges add for backends.

    Args:
        span: The finished span.
        expected: Attributes whose values are known, so that they must not be missing.
    """
    attributes = dict(span.attributes or {})
    results = [("missing", name, "its value is known") for name in expected if name not in attributes]
    results += [*_check_shape(span, attributes), *_check_backends(attributes)]
    findings = _unintended(results, _operation_of(attributes), span.name)
    return [*findings, *(each for event in span.events for each in check_event(event.name, event.attributes or {}))]


def check_event(name: str | None, attributes: Mapping[str, Any]) -> list[Finding]:
    """Return the findings on an event of a span or of the logs, if its name is one of the conventions."""
    if name is None or not name.startswith(_PREFIXES):
        return []
    spec, operation = REGISTRY["events"].get(name), _operation_of(attributes)
    if spec is None:
        return _unintended([("event", name, "not in the registry")], operation, "event")
    levels, values = spec["attributes"], dict(attributes)
    if (
        name == "gen_ai.client.inference.operation.details"
        and operation not in REGISTRY["spans"][_INFERENCE]["operations"]
    ):
        # An intended deviation: calls other than inference have this event too, with the attributes of their spans.
        own = span_type(attributes, "CLIENT")
        levels = REGISTRY["spans"][own]["attributes"] if own else {**levels, "required": ["gen_ai.provider.name"]}
    return _unintended([*_check_attributes(levels, values), *_check_values(values)], operation, name)


def _operation_of(attributes: Mapping[str, Any]) -> str | None:
    return attributes.get("gen_ai.operation.name") or attributes.get("llmtrace.operation.name")


def _unintended(results: Iterable[tuple[str, str, str]], operation: str | None, source: str) -> list[Finding]:
    findings = [Finding(check, subject, operation, f"{source}: {detail}") for check, subject, detail in results]
    return [finding for finding in findings if not any(each.covers(finding) for each in DEVIATIONS)]


Result = Iterator[tuple[str, str, str]]


def _check_shape(span: ReadableSpan, attributes: Mapping[str, Any]) -> Result:
    kind, status = span.kind.name, span.status.status_code
    operation = attributes.get("gen_ai.operation.name")
    custom = attributes.get("llmtrace.operation.name")
    if (operation is None) == (custom is None):
        yield "required", "gen_ai.operation.name", "neither it nor llmtrace.operation.name, or both"
    if operation is not None and operation not in REGISTRY["enums"]["gen_ai.operation.name"]:
        yield "enum", "gen_ai.operation.name", repr(operation)
    if custom in REGISTRY["enums"]["gen_ai.operation.name"]:
        yield "enum", "llmtrace.operation.name", f"{custom!r} is an operation of the convention"
    if status is StatusCode.OK:
        yield "status", "status", "OK is for applications"
    if (status is StatusCode.ERROR) != ("error.type" in attributes):
        yield "status", "error.type", f"status {status.name}"
    yield from _check_values(attributes)
    name = span_type(attributes, kind)
    if name is None:
        return
    spec = REGISTRY["spans"][name]
    if kind not in spec["kinds"]:
        yield "kind", "kind", f"{kind}, not {' or '.join(spec['kinds'])}"
    keyed = attributes.get(spec["name"]) if spec["name"] else None
    if span.name != (operation if keyed is None else f"{operation} {keyed}"):
        yield "name", "name", f"not {operation} {{{spec['name']}}}"
    yield from _check_attributes(spec["attributes"], attributes)


def _check_attributes(levels: Mapping[str, list[str]], attributes: Mapping[str, Any]) -> Result:
    for name in levels.get("required", ()):
        if name not in attributes:
            yield "required", name, "missing"
    if "server.address" in attributes and "server.port" not in attributes:
        yield "required", "server.port", "missing"
    declared = {name for names in levels.values() for name in names}
    wildcards = tuple(name.removesuffix("*") for name in declared if name.endswith("*"))
    for name in attributes:
        if name.startswith(_PREFIXES) and name not in declared and not name.startswith(wildcards or "\0"):
            yield "undeclared", name, "not in the registry for this signal"


def _check_values(attributes: Mapping[str, Any]) -> Result:
    for name, value in attributes.items():
        kind = TYPES.get(name)
        if name in CONTENT and not isinstance(value, str):  # structured in the logs
            yield from _check_content(name, json.dumps(value, default=dict))
        elif kind == "string[]":
            if not isinstance(value, (tuple, list)) or not all(type(item) is str for item in value):
                yield "type", name, f"{value!r} is not {kind}"
        elif kind is not None and type(value) is not _VALUE_TYPES[kind]:
            yield "type", name, f"{value!r} is not {kind}"
        accepted = REGISTRY["enums"].get(name)
        if accepted is not None and name != "gen_ai.operation.name" and value not in accepted:
            yield "enum", name, repr(value)
        if name in CONTENT and isinstance(value, str):
            yield from _check_content(name, value)
        elif name in ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result") and not isinstance(_json(value), dict):
            yield "schema", name, "not a JSON object"


@cache
def _schema(name: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema)


def _check_content(name: str, text: str) -> Result:
    for error in _schema(CONTENT[name]).iter_errors(_json(text)):
        yield "schema", name, f"{error.json_path}: {error.message[:200]}"


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _check_backends(attributes: Mapping[str, Any]) -> Result:
    """Check the names that backends read, as the bridges of llmtrace complete them."""
    operation = _operation_of(attributes)
    bridged = {**attributes, **bridge_attributes(attributes, ["openinference", "langfuse"], started=1)}
    for backend, rules in BACKENDS.items():
        for rule in rules:
            if operation in rule.get("operations", (operation,)) and all(name in attributes for name in rule["if"]):
                for name in rule["then"]:
                    accepted = rule.get("values")
                    if name not in bridged or (accepted is not None and bridged[name] not in accepted):
                        yield backend, name, f"{bridged.get(name)!r}"
    yield from _check_phoenix_messages(attributes)
    yield from _check_langfuse_sums(attributes, bridged)


def _check_phoenix_messages(attributes: Mapping[str, Any]) -> Result:
    """Phoenix drops a list of messages if one message has no parts, or an output message no finish reason."""
    for name in ("gen_ai.input.messages", "gen_ai.output.messages"):
        messages = _json(attributes[name]) if isinstance(attributes.get(name), str) else None
        for message in messages if isinstance(messages, list) else ():
            parts = message.get("parts")
            if not isinstance(parts, list):
                yield "phoenix", name, "a message without parts"
                continue
            if sum(part.get("type") == "tool_call_response" for part in parts) > 1:
                yield "phoenix", name, "two tool results in one message"
            if name == "gen_ai.output.messages" and not isinstance(message.get("finish_reason"), str):
                yield "phoenix", name, "a message without finish_reason"


def _check_langfuse_sums(attributes: Mapping[str, Any], bridged: Mapping[str, Any]) -> Result:
    """Langfuse adds up its usage details, so they must be disjoint, and takes every other number for a count."""
    usage = _json(bridged.get("langfuse.observation.usage_details", "null"))
    if usage:
        total = usage.pop("total")
        counted = sum(attributes.get(f"gen_ai.usage.{name}_tokens", 0) for name in ("input", "output"))
        if total != counted or sum(usage.values()) != counted:
            yield "langfuse", "langfuse.observation.usage_details", f"{usage} of {total} are not {counted}"
    cost = _json(bridged.get("langfuse.observation.cost_details", "null"))
    if cost and cost["total"] != attributes["llm.cost.total"]:
        yield "langfuse", "langfuse.observation.cost_details", str(cost)


def check_metrics(data: MetricsData | None) -> list[Finding]:
    """Return the findings on all metrics under the names of the conventions."""
    groups = [] if data is None else [scope for group in data.resource_metrics for scope in group.scope_metrics]
    metrics = [metric for scope in groups for metric in scope.metrics if metric.name.startswith(_PREFIXES)]
    return [finding for metric in metrics for finding in _check_metric(metric)]


def _check_metric(metric: Any) -> Iterator[Finding]:
    replaced = REGISTRY["replaced_metrics"]
    spec = REGISTRY["metrics"].get(metric.name) or replaced.get(metric.name)
    if spec is None:
        yield from _unintended([("metric", metric.name, "not in the registry")], None, "metric")
        return
    instrument = "histogram" if hasattr(metric.data.data_points[0], "bucket_counts") else "counter"
    for point in metric.data.data_points:
        attributes = dict(point.attributes)
        operation = _operation_of(attributes)
        results = []
        if (instrument, metric.unit) != (spec["instrument"], spec["unit"]):
            results.append(("metric", metric.name, f"{instrument} in {metric.unit}"))
        if metric.name in replaced or operation in spec.get("not_operations", ()):
            results.append(("replaced", metric.name, "replaced by v0.1.0"))
        if operation not in spec.get("operations", (operation,)):
            results.append(("operation", metric.name, f"operation {operation}"))
        if "llmtrace.operation.name" in attributes:
            attributes["gen_ai.operation.name"] = operation
        results += [*_check_attributes(spec["attributes"], attributes), *_check_values(attributes)]
        yield from _unintended(results, operation, metric.name)
