"""Program that makes calls once for each private name of another package, after renaming it as a release might do.

Run it with the names as arguments: ``package:name``. It prints one line of JSON for each. The names after the argument
``import`` are renamed when llmtrace has been imported already, which takes less time.
"""

from __future__ import annotations

import gc
import gzip
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any

import openai
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

CHAT = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}  # fmt: skip
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
CHUNKS = [
    *({**CHUNK, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]} for word in "abcde"),
    {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": CHAT["usage"]},
]
TIMES = re.compile("time_|_second|stalls")


def functions(holder: Any, seen: set[int]) -> Iterator[FunctionType]:
    """Yield the functions of a module or class, with those of its classes and properties."""
    for value in list(vars(holder).values()):
        for part in (value, *(getattr(value, name, None) for name in ("fget", "fset", "__func__", "__wrapped__"))):
            if isinstance(part, FunctionType) and id(part) not in seen:
                seen.add(id(part))
                yield part
        if isinstance(value, type) and id(value) not in seen:
            seen.add(id(value))
            yield from functions(value, seen)


def with_new_name(code: CodeType, name: str) -> CodeType:
    names = tuple("renamed" + each if each == name else each for each in code.co_names)
    constants: list[Any] = ["renamed" + name if each == name else each for each in code.co_consts]  # for ``hasattr``
    constants = [with_new_name(each, name) if isinstance(each, CodeType) else each for each in constants]
    return code.replace(co_names=names, co_consts=tuple(constants))


def rename(package: str, name: str) -> None:
    """Rename a global, an attribute or a method everywhere in a package, so that the package itself goes on working."""
    seen: set[int] = set()
    for key, module in list(sys.modules.items()):
        if key != package and not key.startswith(package + "."):
            continue
        for function in functions(module, seen):
            function.__code__ = with_new_name(function.__code__, name)
        for holder in (module, *(value for value in list(vars(module).values()) if isinstance(value, type))):
            if name in vars(holder):
                setattr(holder, "renamed" + name, vars(holder)[name])
                delattr(holder, name)
    for instance in gc.get_objects():
        fields = getattr(instance, "__dict__", None) if str(type(instance).__module__).startswith(package) else None
        if type(fields) is dict and name in fields:
            fields["renamed" + name] = fields.pop(name)


def answer(http: Any, request: Any) -> Any:
    body = json.loads(request.read())
    if body.get("stream"):
        events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS) + "data: [DONE]\n\n"
        return http.Response(200, headers={"content-type": "text/event-stream"}, content=events.encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip", "x-request-id": "req_1"}
    return http.Response(200, headers=headers, content=iter([gzip.compress(json.dumps(CHAT).encode())]))


def work() -> dict[str, Any]:
    """Make a plain, a streamed and a raw call in a tool; return the spans, the counts of gaps and the warnings."""
    import llmtrace

    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("llmtrace").addHandler(handler)
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    http = sys.modules[openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]]
    transport = http.MockTransport(lambda request: answer(http, request))
    client = openai.OpenAI(api_key="x", http_client=http.Client(transport=transport))
    question: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    with llmtrace.instrument(tracer_provider=tracers, meter_provider=meters, capture_content=True, clients=["openai"]):
        with llmtrace.tag(feature="search"), llmtrace.tool("t"):
            client.chat.completions.create(**question)
            list(client.chat.completions.create(**question, stream=True))
            with client.chat.completions.with_streaming_response.create(**question) as response:
                list(response.iter_lines())
        assert llmtrace.flush(20)
    gaps = [
        point.count
        for resource in getattr(reader.get_metrics_data(), "resource_metrics", ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if "chunk" in metric.name
    ]
    return {
        "spans": sorted(
            json.dumps([span.name, {key: value for key, value in span.attributes.items() if not TIMES.search(key)}])
            for span in spans.get_finished_spans()
        ),
        "gaps": gaps,
        "warnings": warnings,
    }


def main() -> None:
    for argument in sys.argv[1:]:
        package, _, name = argument.partition(":")
        if argument == "import":
            import_module("llmtrace._api")
            import_module("llmtrace.pricing.catalog").current()
            continue
        child = os.fork()
        if child == 0:
            if name:
                rename(package, name)
            print(json.dumps(work()), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
