"""``llmtrace doctor``: what is patched, where spans go, whether anybody answers there, and which setting says so."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module, metadata
from pathlib import Path

import click

from .. import _errors
from .._settings import ConfigError, Settings, load
from ..export.otlp.payload import Payload
from ..export.routes import names, spool_folder, transport, variable
from ..export.signals import SIGNALS, Signal
from ..providers.registry import SDKS
from ..report import formatting
from ..store.schema import locate
from .spool import describe
from .terminal import echo

__all__ = ["command", "run"]

_PACKAGES = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp", "wrapt", "protobuf", "grpcio")
_CONNECT_TIMEOUT_SECONDS = 3.0
_ABSENT = "not installed"
_FIRST = "call llmtrace.instrument() before {}: a client that it has replaced first calls past llmtrace, unseen"
_TWICE = "{} is not the current span while the client works, so a call has two spans with usage: {}"
_INSTRUMENTATION = {
    "openinference-instrumentation-openai": _FIRST.format("OpenAIInstrumentor().instrument()"),
    "logfire": _FIRST.format("logfire.instrument_openai() and logfire.instrument_anthropic()"),
    "opentelemetry-instrumentation-anthropic": _TWICE.format("its span", "uninstall it, or set LLMTRACE_CLIENTS"),
    "langfuse": _TWICE.format("the span of langfuse.openai", "import openai itself"),
}
"""Packages that trace the same calls, where the two do not fit together by themselves."""


class DoctorReport:
    """Lines for people, and whether one of them tells of a fault."""

    def __init__(self) -> None:
        self.failed = False

    def title(self, name: str) -> None:
        echo()
        echo(name)

    def print(self, line: str) -> None:
        echo(f"  {line}")

    def fault(self, line: str) -> None:
        self.failed = True
        echo(f"! {line}")


def run() -> int:
    """Check this environment and print what was found: 0 all is well, 1 something is not, 2 a setting is wrong."""
    report = DoctorReport()
    try:
        settings = load({})
    except ConfigError as error:
        report.fault(str(error))
        return 2
    _versions(report)
    _settings(report, settings)
    _clients(report)
    _other_instrumentation(report)
    _destinations(report, settings)
    _disk(report, settings)
    return 1 if report.failed else 0


def _versions(report: DoctorReport) -> None:
    from .. import __version__

    report.title("versions")
    report.print(f"llmtrace {__version__}, Python {platform.python_version()} on {platform.system()}")
    for name in _PACKAGES:
        report.print(f"{name} {_version(name)}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _ABSENT


def _settings(report: DoctorReport, settings: Settings) -> None:
    report.title("settings: value (origin)")
    for field in fields(settings):
        name = f"LLMTRACE_{field.name.upper()}"
        value = _without_account(_plain(getattr(settings, field.name)))
        report.print(f"{name}={value} ({'environment' if variable(name) else 'default'})")


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _clients(report: DoctorReport) -> None:
    from opentelemetry.trace import NoOpTracerProvider

    import llmtrace

    report.title("clients")
    with llmtrace.instrument(tracer_provider=NoOpTracerProvider()) as done:
        absent = {sdk.name for sdk in SDKS if not _imported(report, sdk.module)}
        for name, version in done.patched.items():
            report.print(f"{name} {version}  traced")
        for name in sorted(absent & done.waiting.keys()):
            report.print(f"{name}  not installed")
        for name, why in done.skipped.items():
            chosen = why.startswith(("left out", "LLMTRACE_ENABLED"))
            (report.print if chosen else report.fault)(f"{name}  skipped: {why}")
    for place, count in _errors.internal_errors.items():
        report.fault(f"instrumentation error: could not {place} ({formatting.counted(count, 'time')})")


def _other_instrumentation(report: DoctorReport) -> None:
    installed = {name: version for name in _INSTRUMENTATION if (version := _version(name)) != _ABSENT}
    if installed:
        report.title("other instrumentation")
    for name, version in installed.items():
        report.print(f"{name} {version}: {_INSTRUMENTATION[name]}")


def _imported(report: DoctorReport, module: str) -> bool:
    """Import it. False when it is not installed; when it is broken, that is told."""
    try:
        import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and module.startswith(f"{error.name}."):
            return False
        report.fault(f"{module} cannot be imported: {error}")
    return True


def _destinations(report: DoctorReport, settings: Settings) -> None:
    report.title("where it goes, unless the application has set a provider of its own")
    for name in ("OTEL_SDK_DISABLED", "OTEL_CONFIG_FILE"):
        if variable(name):
            report.print(f"{name}={variable(name)} (environment)")
    if variable("OTEL_SDK_DISABLED").lower() == "true":
        report.print("nowhere")
        return
    if variable("OTEL_CONFIG_FILE"):
        report.print("where that file says")
        return
    for signal in SIGNALS:
        try:
            _destination(report, settings, signal)
        except ConfigError as error:
            report.fault(f"{signal.unit}: {error}")


def _destination(report: DoctorReport, settings: Settings, signal: Signal) -> None:
    asks = (f"OTEL_{signal.name.upper()}_EXPORTER", *signal.variables("ENDPOINT"))
    found = names(settings, signal)
    for name in found:
        if name.startswith("otlp"):
            _endpoint(report, name, signal)
        else:
            place = "the local store" if name == "local" else name
            report.print(f"{signal.unit}: {place}")
    if not found:
        report.print(f"{signal.unit}: nowhere")
    for name in (*asks, *signal.variables("PROTOCOL")):
        if variable(name) and (found or name == asks[0]):
            report.print(f"  {name}={_without_account(variable(name))} (environment)")
    if not any(map(variable, asks[:2])) and not found:
        report.print(f"  {asks[0]} is not set (default)")


def _without_account(text: str) -> str:
    return text.rpartition("@")[2].partition("?")[0] if "//" in text else text


def _endpoint(report: DoctorReport, name: str, signal: Signal) -> None:
    """Post a request with nothing in it, which every OTLP backend accepts."""
    way = transport(name, signal)
    where = way.destination
    outcome = way.send(Payload(b"", "none", 0), _CONNECT_TIMEOUT_SECONDS)
    way.close()
    well = outcome.kind == "accepted"
    (report.print if well else report.fault)(f"{signal.unit}: {where.endpoint}")
    told = "answers" if well else f"does not take {signal.unit}: {outcome.message}"
    report.print(f"  {told} ({where.protocol}, compression {way.encoding})")


def _disk(report: DoctorReport, settings: Settings) -> None:
    report.title("on disk")
    folder = spool_folder(settings)
    if folder is None:
        report.print("no spool: LLMTRACE_SPOOL is off")
    else:
        for line in describe(folder, settings):
            report.print(f"spool {line.strip()}" if not line.startswith(" ") else line)
        if not _writable(folder):
            report.fault(f"{folder} cannot be written: spans would wait in memory only (LLMTRACE_SPOOL)")
    for path in _store(settings):
        size = path.stat().st_size / 1e6 if path.exists() else 0.0
        report.print(f"store {path}  {size:.1f} MB  (LLMTRACE_STORE)")


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


def _store(settings: Settings) -> Iterator[Path]:
    if settings.store != "off":
        yield locate(settings.store)


@click.command("doctor")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Check what is hooked, where spans go, and whether they arrive."""
    ctx.exit(run())
