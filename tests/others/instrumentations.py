"""Start of each other instrumentation, with its spans in an in-memory exporter or on the loopback server."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

__all__ = ["START"]


def _set_provider(exporter: SpanExporter) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def _instrument(exporter: SpanExporter, *instrumentors: str) -> None:
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        _set_provider(exporter)
    for place in instrumentors:
        module, _, name = place.partition(":")
        getattr(import_module(module), name)().instrument()


def start_openinference(exporter: SpanExporter, url: str) -> None:
    package = "openinference.instrumentation"
    _instrument(
        exporter,
        f"{package}.openai:OpenAIInstrumentor",
        f"{package}.anthropic:AnthropicInstrumentor",
        f"{package}.google_genai:GoogleGenAIInstrumentor",
        f"{package}.langchain:LangChainInstrumentor",
    )


def start_openllmetry(exporter: SpanExporter, url: str) -> None:
    package = "opentelemetry.instrumentation"
    _instrument(
        exporter,
        f"{package}.openai:OpenAIInstrumentor",
        f"{package}.anthropic:AnthropicInstrumentor",
        f"{package}.langchain:LangchainInstrumentor",
    )


def start_openlit(exporter: SpanExporter, url: str) -> None:
    import openlit

    _set_provider(exporter)
    # Its pricing file comes from the network: without one, its costs are 0.
    openlit.init(disable_metrics=True, disable_events=True, pricing_json=f"{url}/prices.json")


def start_otel_genai(exporter: SpanExporter, url: str) -> None:
    package = "opentelemetry.instrumentation.genai"
    _instrument(
        exporter,
        f"{package}.openai:OpenAIInstrumentor",
        f"{package}.anthropic:AnthropicInstrumentor",
        f"{package}.langchain:LangChainInstrumentor",
    )


def start_otel_openai_v2(exporter: SpanExporter, url: str) -> None:
    _instrument(exporter, "opentelemetry.instrumentation.openai_v2:OpenAIInstrumentor")


def start_otel_google_genai(exporter: SpanExporter, url: str) -> None:
    _instrument(exporter, "opentelemetry.instrumentation.google_genai:GoogleGenAiSdkInstrumentor")


def start_logfire(exporter: SpanExporter, url: str) -> None:
    import logfire

    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(exporter)])
    logfire.instrument_openai()
    logfire.instrument_anthropic()


def start_langfuse(exporter: SpanExporter, url: str) -> None:
    import langfuse.openai  # which replaces methods of the OpenAI library

    _set_provider(exporter)
    provider: Any = trace.get_tracer_provider()
    langfuse.Langfuse(public_key="k", secret_key="k", base_url=url, tracer_provider=provider)


def start_sentry(exporter: SpanExporter, url: str) -> None:
    import sentry_sdk
    from sentry_sdk.integrations.anthropic import AnthropicIntegration
    from sentry_sdk.integrations.langchain import LangchainIntegration
    from sentry_sdk.integrations.openai import OpenAIIntegration

    _set_provider(exporter)
    sentry_sdk.init(
        dsn=f"http://k@{url.removeprefix('http://')}/1",
        traces_sample_rate=1.0,
        integrations=[OpenAIIntegration(), AnthropicIntegration()],
        disabled_integrations=[LangchainIntegration()],  # which switches off the others
    )


def start_ddtrace(exporter: SpanExporter, url: str) -> None:
    import ddtrace

    _set_provider(exporter)
    ddtrace.patch(openai=True, anthropic=True, langchain=True, google_genai=True)


START = {name.removeprefix("start_"): start for name, start in vars().copy().items() if name.startswith("start_")}
"""Function that starts each instrumentation, by its name in ``matrix.toml``."""
