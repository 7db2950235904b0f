"""Fixtures of the tests of whole spans: every attribute of one real call against a loopback server.

Each test shows all that a span holds with content off. A new or changed attribute changes a snapshot here:
``pytest --inline-snapshot=review`` shows the difference and rewrites it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from google import genai
from mistralai.client import Mistral
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from span_vendor import PRICES, Vendor


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    """Serve the loopback vendor for the tests of this module."""
    with Vendor() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def fixed_prices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Price every model the same, so that costs do not depend on the release of the price list."""
    path = tmp_path / "prices.toml"
    path.write_text(PRICES, encoding="utf-8")
    monkeypatch.setenv("LLMTRACE_PRICES", str(path))


@pytest.fixture
def openai_client(vendor: Vendor) -> Iterator[openai.OpenAI]:
    """Return an OpenAI client of the loopback vendor."""
    with openai.OpenAI(base_url=f"{vendor.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(vendor: Vendor) -> genai.Client:
    """Return a Gemini client of the loopback vendor."""
    return genai.Client(api_key="none", http_options={"base_url": vendor.url})


@pytest.fixture
def mistral(vendor: Vendor) -> Iterator[Mistral]:
    """Return a Mistral client of the loopback vendor."""
    with Mistral(api_key="none", server_url=vendor.url) as client:
        yield client


@pytest.fixture
def span(spans: InMemorySpanExporter) -> Callable[[], tuple[str, dict[str, Any]]]:
    """Return a function that returns the name and the attributes of the only span."""

    def only_span() -> tuple[str, dict[str, Any]]:
        finished: tuple[ReadableSpan, ...] = spans.get_finished_spans()
        assert len(finished) == 1
        return finished[0].name, dict(sorted((finished[0].attributes or {}).items()))

    return only_span
