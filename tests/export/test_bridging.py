"""Spans on their way to a backend that wants more of them than the conventions have."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from llmtrace.export import bridging
from llmtrace.export.bridging import bridges_for, translate

PROJECT = "openinference.project.name"


@pytest.mark.parametrize(
    ("environ", "resource", "project"),
    [
        (None, {"service.name": "shop"}, "shop"),
        ("mine", {"service.name": "shop"}, "mine"),
        ("mine", {"service.name": "shop", PROJECT: "set"}, "set"),
        (None, {"service.name": "unknown_service:python"}, None),
        (None, {"service.name": 7}, None),
        (None, {}, None),
    ],
)
def test_project_attribute_follows_the_resource(
    environ: str | None, resource: Any, project: str | None, monkeypatch: Any
) -> None:
    """Phoenix files a span where the program says, else under the name of its service, if it has one."""
    if environ is not None:
        monkeypatch.setenv("PHOENIX_PROJECT_NAME", environ)
    original = ReadableSpan("chat m", resource=Resource(resource), attributes={"gen_ai.operation.name": "chat"})
    (span,) = translate([original], ["openinference"])
    assert span.resource.attributes.get(PROJECT) == project
    assert span.name == "chat m"


@pytest.mark.parametrize(
    ("chosen", "endpoint", "bridges"),
    [
        (["openinference"], "https://cloud.langfuse.com/api/public/otel/v1/traces", ("openinference", "langfuse")),
        (["langfuse"], "https://cloud.langfuse.com/api/public/otel", ("langfuse",)),
        ([], "http://127.0.0.1:4318/v1/traces?to=/api/public/otel", ()),
        ([], None, ()),
    ],
)
def test_langfuse_is_recognized_by_its_address(
    chosen: list[str], endpoint: str | None, bridges: tuple[str, ...]
) -> None:
    """Its bridge is added once, to what the settings say."""
    assert bridges_for(chosen, endpoint) == bridges


@pytest.mark.faulty
def test_untranslatable_span_is_exported_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of a bridge costs what it would have added."""
    monkeypatch.setattr(bridging, "bridge_attributes", lambda *_, **__: 1 / 0)
    span = ReadableSpan("chat m")
    assert translate([span], ["langfuse"]) == [span]
