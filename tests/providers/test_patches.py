"""Hooks next to those of other packages, and in releases that moved a hooked function."""

from __future__ import annotations

import copy
import pickle
import sys
from functools import partial, update_wrapper, wraps
from importlib.machinery import ModuleSpec
from inspect import unwrap
from types import ModuleType
from typing import Any

import openai
import pytest
import wrapt
from answers import CHAT, QUESTION
from helpers import resolve
from loopback import Loopback, json_answer
from openai._base_client import AsyncAPIClient, SyncAPIClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.cli import doctor
from llmtrace.providers import _foreign_wrappers, registry
from llmtrace.providers._patches import Patches
from llmtrace.providers.contract import Provider, stainless
from stainless_clients import make_client

Spans = InMemorySpanExporter


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("take", [getattr, lambda owner, name: vars(owner)[name]], ids=["getattr", "vars"])
async def test_wrapper_of_another_package_keeps_our_span(
    loopback: Loopback, spans: Spans, monkeypatch: pytest.MonkeyPatch, colour: str, take: Any
) -> None:
    """A package that wraps our hook calls it with the client as its first argument."""
    loopback.will(json_answer(CHAT))
    owner = SyncAPIClient if colour == "sync" else AsyncAPIClient
    inner, seen = take(owner, "request"), []

    @wraps(inner)
    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self)
        return inner(self, *args, **kwargs)

    client = make_client("openai", colour, loopback.url)
    with monkeypatch.context() as other:
        other.setattr(owner, "request", request)
        answer = await resolve(client.chat.completions.create(model="m", messages=QUESTION))
    await resolve(client.close())
    assert answer.id == CHAT["id"]
    assert seen == [client]
    assert [span.name for span in spans.get_finished_spans()] == ["chat m"]


class Greeter:
    def __init__(self, name: str) -> None:
        self.name = name

    def greet(self) -> str:
        return self.name


def test_hooked_method_is_copied_and_pickled_as_a_method() -> None:
    """A method that an application stores can be copied and pickled while it is hooked, and its copy is hooked too."""
    patches, greeter = Patches(), Greeter("Ada")
    patches.wrap(Greeter, "greet", lambda wrapped, instance, args, kwargs: f"Hello {wrapped()}")
    try:
        copies = [copy.copy(greeter.greet), copy.deepcopy({"key": greeter.greet})["key"]]
        copies.append(pickle.loads(pickle.dumps(greeter.greet)))
        assert [copied() for copied in copies] == ["Hello Ada"] * 3
        assert copies[1].__self__ is not greeter
    finally:
        patches.undo()
    assert greeter.greet() == "Ada"


def greet_all() -> str:
    return "all"


@pytest.mark.parametrize("owner", [sys.modules[__name__], Greeter], ids=["module", "class"])
def test_hooked_function_is_copied_and_pickled_as_a_function(owner: Any) -> None:
    """A function of a module or class can be copied and pickled while it is hooked: process pools pickle theirs."""
    patches, name = Patches(), "greet" if isinstance(owner, type) else "greet_all"
    patches.wrap(owner, name, lambda wrapped, instance, args, kwargs: f"Hello {wrapped(*args)}")
    arguments = (Greeter("Ada"),) if isinstance(owner, type) else ()
    try:
        hooked = getattr(owner, name)
        copies = [copy.copy(hooked), copy.deepcopy({"key": hooked})["key"], pickle.loads(pickle.dumps(hooked))]
        assert {copied(*arguments) for copied in copies} == {hooked(*arguments)}
    finally:
        patches.undo()


def by_closure(original: Any) -> Any:
    @wraps(original)
    def request(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    return request


def by_wrapt(original: Any) -> Any:
    return wrapt.FunctionWrapper(original, lambda wrapped, instance, args, kwargs: wrapped(*args, **kwargs))


class ByInstance:
    def __init__(self, original: Any) -> None:
        self._original = original
        update_wrapper(self, original)

    def __get__(self, instance: Any, owner: Any) -> Any:
        return partial(self._original, instance)


def test_bypassing_wrapper_is_reported(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A wrapper of a subclass that cannot be redirected is reported with its package, in the result and in the log."""
    monkeypatch.setattr(openai.OpenAI, "request", ByInstance(SyncAPIClient.request), raising=False)
    with llmtrace.instrument(tracer_provider=TracerProvider()) as done:
        assert "openai" in done.patched
        assert f"OpenAI.request ({__name__})" in done.skipped["openai"]
        assert "no cost, no tags and no budget" in done.skipped["openai"]
        assert "AsyncOpenAI.request" not in done.skipped["openai"]
    assert caplog.text.count("calls past it") == 1


@pytest.mark.parametrize("wrappers", [[by_closure], [by_wrapt], [by_closure, by_wrapt], [by_wrapt, by_closure]])
@pytest.mark.parametrize("owner", [openai.OpenAI, SyncAPIClient], ids=["subclass", "owner"])
def test_hook_is_below_wrappers_that_came_first(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, owner: type, wrappers: list[Any]
) -> None:
    """Each call passes the wrappers and our hook, and afterwards the wrappers call what they called before."""
    loopback.will(json_answer(CHAT))
    original = wrapper = SyncAPIClient.request
    for wrap in wrappers:
        wrapper = wrap(wrapper)
    monkeypatch.setattr(_foreign_wrappers, "_INSTRUMENTATION", {__name__})
    monkeypatch.setattr(owner, "request", wrapper, raising=False)
    monkeypatch.setattr(openai.OpenAI, "original", original, raising=False)
    client = make_client("openai", "sync", loopback.url)
    for _ in range(2):
        with llmtrace.instrument(tracer_provider=TracerProvider()) as done, llmtrace.collect() as calls:
            client.chat.completions.create(model="m", messages=QUESTION)
            assert "openai" not in done.skipped
            assert len(calls) == 1
            assert vars(owner)["request"] is wrapper
            assert (openai.OpenAI.original is original) == (owner is SyncAPIClient)
        assert vars(owner)["request"] is wrapper
        assert unwrap(wrapper) is openai.OpenAI.original is original
    with llmtrace.collect() as calls:
        client.chat.completions.create(model="m", messages=QUESTION)
    assert not calls
    client.close()


def test_hook_is_above_wrappers_of_other_packages(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper that is no instrumentation, such as one that retries, is part of the call."""
    loopback.will(json_answer(CHAT))

    def twice(original: Any) -> Any:
        @wraps(original)
        def request(*args: Any, **kwargs: Any) -> Any:
            original(*args, **kwargs)
            return original(*args, **kwargs)

        return request

    monkeypatch.setattr(SyncAPIClient, "request", twice(SyncAPIClient.request))
    with (
        llmtrace.instrument(tracer_provider=TracerProvider()),
        llmtrace.collect() as calls,
        make_client("openai", "sync", loopback.url) as client,
    ):
        client.chat.completions.create(model="m", messages=QUESTION)
    assert (len(calls), len(loopback.received)) == (1, 2)


def test_hook_is_removed_from_a_class_whose_wrapper_was_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that puts back what it wrapped puts back our hook, which is removed with the others."""
    original = SyncAPIClient.request
    wrapper = by_wrapt(original)
    monkeypatch.setattr(openai.OpenAI, "request", wrapper, raising=False)
    with llmtrace.instrument(tracer_provider=TracerProvider()):
        openai.OpenAI.request = wrapper.__wrapped__  # type: ignore[method-assign]
        assert vars(openai.OpenAI)["request"] is vars(SyncAPIClient)["request"]
    assert vars(openai.OpenAI)["request"] is vars(SyncAPIClient)["request"] is original


def test_wrapper_on_top_of_our_hook_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass that was wrapped later calls our hook."""
    with llmtrace.instrument(tracer_provider=TracerProvider()) as done:
        monkeypatch.setattr(openai.OpenAI, "request", by_closure(SyncAPIClient.request), raising=False)
        assert "openai" not in done.skipped


class _Moved(ModuleType):
    """SDK that is imported but lacks the module named in the table."""

    def __init__(self) -> None:
        super().__init__("moved_sdk")
        self.__spec__ = ModuleSpec("moved_sdk", None, is_package=True)
        self.__path__: list[str] = []


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider("moved", "moved", "moved_sdk._client", ">=1", stainless, {})
    monkeypatch.setattr(registry, "PROVIDERS", (provider,))


@pytest.mark.usefixtures("moved")
def test_moved_module_of_an_imported_sdk_is_skipped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """An imported SDK without the hooked module is not waited for, and ``doctor`` fails for it."""
    monkeypatch.setitem(sys.modules, "moved_sdk", _Moved())
    with llmtrace.instrument(tracer_provider=TracerProvider(), clients=["moved"]) as done:
        assert done.waiting == {}
        assert done.skipped["moved"] == "this release has no module moved_sdk._client: its calls are not traced"
    assert "moved_sdk._client" in caplog.text
    report = doctor.DoctorReport()
    doctor._clients(report)
    assert report.failed
    assert "! moved  skipped: this release has no module moved_sdk._client" in capsys.readouterr().out


@pytest.mark.usefixtures("moved")
def test_moved_module_is_skipped_once_the_sdk_is_imported(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing module is reported when the SDK is imported."""
    (tmp_path / "moved_sdk").mkdir()
    (tmp_path / "moved_sdk" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "moved_sdk", raising=False)
    with llmtrace.instrument(tracer_provider=TracerProvider(), clients=["moved"]) as done:
        assert done.waiting == {"moved": "not imported yet"}
        import moved_sdk  # type: ignore[import-not-found] # noqa: F401 # pyright: ignore[reportMissingImports]

        assert "moved" not in done.waiting
        assert "no module moved_sdk._client" in done.skipped["moved"]
    del sys.modules["moved_sdk"]


@pytest.mark.parametrize("name", ["SyncAPIClient", "BaseClient"])
def test_missing_class_is_reported_and_the_rest_is_hooked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A missing class is reported; the others are hooked, and restored afterwards."""
    before = vars(AsyncAPIClient)["request"]
    monkeypatch.delattr(openai._base_client, name)
    with llmtrace.instrument(tracer_provider=TracerProvider()) as done:
        assert f"{name}." in done.skipped["openai"]
        assert "openai" in done.patched
        assert vars(AsyncAPIClient)["request"] is not before
    assert vars(AsyncAPIClient)["request"] is before
