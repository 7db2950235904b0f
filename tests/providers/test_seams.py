"""A fault in any function of llmtrace loses telemetry only: the caller gets the same as without llmtrace."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest
from answers import CHAT, CHAT_CHUNKS, QUESTION, sse
from google_server import Gemini, answer
from google_tools import weather
from helpers import resolve
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.context import state
from serving import serving
from stainless_clients import make_client

pytestmark = [pytest.mark.exhaustive, pytest.mark.faulty]

SEAMS = {
    # They call the SDK's own function, between guarded steps.
    "providers._hooks.drive",
    "providers._hooks.drive_async",
    # The protocol of the objects in the place of the SDK's iterators and bodies: they call those, and guard the rest.
    "capture.stream.ObservedIterator.__iter__",
    "capture.stream.ObservedIterator.__next__",
    "capture.stream._Observed.__getattr__",
    "capture.stream.AsyncObservedIterator.__aiter__",
    "capture.stream.AsyncObservedIterator.__anext__",
    "capture.http_body.ObservedBody.__iter__",
    "capture.http_body.ObservedBody.__aiter__",
    "capture.http_body.ObservedBody._self_observe",
    "capture.http_body.ObservedBody._self_observe_async",
    "capture.http_body.ObservedBody.close",
    "capture.http_body.ObservedBody.aclose",
    "capture.http_body.ObservedBody.stream_observer",
    "providers._requests.read_stream",
    "providers._deferred.DeferredStreams.propagate",
    "providers._deferred.DeferredStreams.remember",
    "providers._deferred.DeferredStreams.remember_async",
    "context.blocks.run_plain",
    "context.blocks.run_coroutine",
    "context.operations.CalledTool.run",
    "context.operations.CalledTool.run_async",
    # Finalizers, whose faults Python prints: guarded, but not to be replaced.
    "capture.stream.StreamObserver.__del__",
    "capture.http_body.JsonBodyReader.__del__",
    "providers.google.sdk._ObservedStream.__del__",
    # Functions whose body is a single ``try``.
    "_errors.log_internal_error",
    "capture.stream.notify",
    "_errors.attempt",
    "capture.http_body.ObservedBody._self_read_by_stream",
    "providers._hooks._admit",
    "providers._hooks._check_budgets",
    "providers._hooks._check_budgets_async",
    "providers._hooks._refuse",
    "providers._hooks._waiting",
    "providers.google.sdk._count_attempt",
    "providers._hooks._attach",
    "providers._hooks._detach",
    "providers._hooks._fail",
    "providers._hooks._complete",
    "providers._hooks.current_call",
    "providers._hooks.end_without_response",
    "providers.google.sdk._is_held",
    "providers._deferred.DeferredStreams._keep",
    "providers._deferred.DeferredStreams.find",
    "context.blocks._attach",
    "context.blocks._leave",
    "context.blocks.Block._begin",
    "context.blocks.Block._end",
    "context.blocks.Block._result",
    "providers._stainless._inject_usage",
}
"""Functions that are the guard, or hand on what the SDK does, and so cannot be made to raise themselves."""

DIFFERENT = ("providers.", "capture.", "context.state", "context.blocks")
"""Where asynchronous calls take another way."""

Ask = Callable[[Any], Any]
CALL = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}}
USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13}
FIRST, SECOND = answer(CALL, usage=USAGE), answer("Sunny.", usage=USAGE)


def plain(client: Any) -> Any:
    return client.chat.completions.create(model="gpt-4o", messages=QUESTION)


def stream(client: Any) -> Any:
    return client.chat.completions.create(
        model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )


def raw(client: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model="gpt-4o", messages=QUESTION)


async def read(result: Any) -> Any:
    """Return the result as the caller sees it, in comparable values."""
    result = await resolve(result)
    if hasattr(result, "http_response"):
        return result.http_response.content, (await resolve(result.parse())).id
    if hasattr(result, "__aiter__"):
        return [chunk.model_dump() async for chunk in result]
    if hasattr(result, "__next__"):
        return [chunk.model_dump() for chunk in result]
    return result.model_dump()


async def streamed_bytes(client: Any) -> Any:
    manager = client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=QUESTION)
    if hasattr(manager, "__aenter__"):
        async with manager as response:
            return b"".join([data async for data in response.iter_bytes()])
    with manager as response:
        return b"".join(response.iter_bytes())


def functions() -> dict[CodeType, list[tuple[Any, str, str]]]:
    """Return every function and method by its code object, with owner, name and title."""
    found: dict[CodeType, list[tuple[Any, str, str]]] = {}
    for module in [each for name, each in sys.modules.items() if name.partition(".")[0] == "llmtrace"]:
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value.__module__ == module.__name__:
                for attribute, inner in list(vars(value).items()):
                    add(found, value, attribute, inner)
            else:
                add(found, module, name, value)
    return found


def add(found: dict[CodeType, list[tuple[Any, str, str]]], owner: Any, name: str, value: Any) -> None:
    function = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
    if isinstance(function, FunctionType) and function.__module__.partition(".")[0] == "llmtrace":
        title = f"{function.__module__}.{function.__qualname__}".removeprefix("llmtrace.")
        found.setdefault(function.__code__, []).append((owner, name, title))


@contextmanager
def called(codes: set[CodeType]) -> Iterator[None]:
    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            codes.add(frame.f_code)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


@contextmanager
def broken(places: list[tuple[Any, str, str]]) -> Iterator[None]:
    """Make a function raise at every place that refers to it."""

    def boom(*_: object, **__: object) -> Any:
        raise RuntimeError("ours")

    before = [(owner, name, vars(owner)[name]) for owner, name, _ in places]
    for owner, name, value in before:
        setattr(owner, name, type(value)(boom) if isinstance(value, (property, staticmethod, classmethod)) else boom)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


async def faults_of(run: Callable[[], Any], layers: tuple[str, ...] = ("",)) -> list[str]:
    """Make each function that ``run`` calls raise in turn; return those that change its result."""
    expected = await run()
    codes: set[CodeType] = set()
    with called(codes):
        assert await run() == expected
    everything = functions()
    faults, tried = [], 0
    for code in codes & everything.keys():
        title = everything[code][0][2]
        if title in SEAMS or not title.startswith(layers):
            continue
        tried += 1
        with broken(everything[code]):
            try:
                got = await run()
            except Exception as error:
                got = error
        if got != expected:
            faults.append(f"{title}: {got!r}")
    assert tried > 20
    assert state.current_call() is None
    assert await run() == expected
    return faults


@pytest.fixture
def instrumented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Instrument with every part in use: content, budgets, tags, collected calls and stream usage."""
    monkeypatch.setenv("LLMTRACE_STREAM_USAGE", "always")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    budgets: Any = [llmtrace.Budget("all", usd="1000", action="block")]
    settings: dict[str, Any] = {"tracer_provider": provider, "capture_content": True, "budgets": budgets}
    with llmtrace.instrument(**settings), llmtrace.tag(feature="f"), llmtrace.collect():
        yield
    provider.shutdown()


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("ask", [plain, stream, raw, streamed_bytes], ids=["plain", "stream", "raw", "streamed bytes"])
@pytest.mark.usefixtures("instrumented")
async def test_a_fault_in_any_function_never_reaches_the_caller(loopback: Loopback, colour: str, ask: Ask) -> None:
    """Each function that a call uses raises in turn, in every layer, and the result stays the same."""
    loopback.will(
        stream_answer(sse(CHAT_CHUNKS, done=True)) if ask is stream else json_answer({**CHAT, "model": "gpt-4o"})
    )
    client = make_client("openai", colour, loopback.url)

    async def run() -> Any:
        result = ask(client)
        return await result if ask is streamed_bytes else await read(result)

    assert not await faults_of(run, ("",) if colour == "sync" else DIFFERENT)
    await resolve(client.close())


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.usefixtures("instrumented")
@pytest.mark.filterwarnings("ignore:.*deprecated.*", "ignore:Pydantic serializer warnings")
async def test_a_fault_never_reaches_the_caller_of_gemini(colour: str, streamed: bool) -> None:
    """The same holds for google-genai, with a tool that the SDK calls."""
    with serving(Gemini()) as server:
        parent = server.client()
        client: Any = parent if colour == "sync" else parent.aio

        async def run() -> Any:
            server.will(*([FIRST], [SECOND]) if streamed else (FIRST, SECOND))
            method = client.models.generate_content_stream if streamed else client.models.generate_content
            result = await resolve(method(model="gemini-test", contents="hello", config={"tools": [weather]}))
            if hasattr(result, "__aiter__"):
                return [chunk.text async for chunk in result]
            return [chunk.text for chunk in result] if streamed else result.text

        assert not await faults_of(
            run, ("providers.google", "providers._deferred", "providers._hooks", "context.", "capture.")
        )
        if colour == "async" and hasattr(client, "aclose"):
            await client.aclose()


def test_listed_functions_exist() -> None:
    """A removed function must leave the list, so that the list stays short."""
    for module in ("_hooks", "_stainless", "google.sdk"):
        import_module(f"llmtrace.providers.{module}")
    titles = {title for places in functions().values() for _, _, title in places}
    assert not SEAMS - titles


def test_introspection_finds_modules_classes_and_properties() -> None:
    """The introspection finds modules, classes and properties."""
    assert any(isinstance(owner, ModuleType) for places in functions().values() for owner, _, _ in places)
