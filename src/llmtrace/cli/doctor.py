"""``llmtrace doctor``: what is patched, where spans go, whether anybody answers there, and which setting says so."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

import click

from .. import _guard
from .._config import ConfigError, Settings, load
from ..clients.table import SDKS
from ..export.payload import Payload
from ..export.routes import names, spool_folder, store_path, transport, variable
from .spool import describe

__all__ = ["command", "run"]

_PACKAGES = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp", "wrapt", "protobuf", "grpcio")
_DECIDING = (
    "OTEL_SDK_DISABLED",
    "OTEL_CONFIG_FILE",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
)
_PATIENCE = 3.0


class Report:
    """Lines for people, and whether one of them tells of a fault."""

    def __init__(self) -> None:
        self.failed = False

    def title(self, name: str) -> None:
        print(f"\n{name}")

    def say(self, line: str) -> None:
        print(f"  {line}")

    def fault(self, line: str) -> None:
        self.failed = True
        print(f"! {line}")


def run() -> int:
    """Check this environment and print what was found: 0 all is well, 1 something is not, 2 a setting is wrong."""
    report = Report()
    try:
        settings = load({})
    except ConfigError as error:
        report.fault(str(error))
        return 2
    _versions(report)
    _settings(report, settings)
    _clients(report)
    _destinations(report, settings)
    _disk(report, settings)
    return 1 if report.failed else 0


def _versions(report: Report) -> None:
    from .. import __version__

    report.title("versions")
    report.say(f"llmtrace {__version__}, Python {platform.python_version()} on {platform.system()}")
    report.say(", ".join(f"{name} {_version(name)}" for name in _PACKAGES))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _settings(report: Report, settings: Settings) -> None:
    report.title("settings")
    for field in fields(settings):
        name = f"LLMTRACE_{field.name.upper()}"
        value = _without_account(_plain(getattr(settings, field.name)))
        told = bool(os.environ.get(name, "").strip())
        report.say(f"{name}={value}" if told else f"{name} is not set" + (f": {value}" if value else ""))


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _clients(report: Report) -> None:
    from opentelemetry.trace import NoOpTracerProvider

    import llmtrace

    report.title("clients")
    found = [sdk.module for sdk in SDKS if find_spec(sdk.module) is not None]
    with llmtrace.instrument(tracer_provider=NoOpTracerProvider()) as done:
        for module in found:
            try:
                import_module(module)
            except Exception as error:
                report.fault(f"{module} cannot be imported: {error}")
        for name, version in done.patched.items():
            report.say(f"{name} {version}  traced")
        for name in done.waiting:
            report.say(f"{name}  not installed")
        for name, why in done.skipped.items():
            chosen = why.startswith(("left out", "LLMTRACE_ENABLED"))
            (report.say if chosen else report.fault)(f"{name}  skipped: {why}")
    for place, count in _guard.faults.items():
        report.fault(f"instrumentation error: could not {place} ({count} times)")


def _destinations(report: Report, settings: Settings) -> None:
    report.title("where spans go, unless the application has set a tracer provider")
    for name in _DECIDING:
        if variable(name):
            report.say(f"{name}={_without_account(variable(name))}")
    if variable("OTEL_SDK_DISABLED").lower() == "true":
        report.say("nowhere: OTEL_SDK_DISABLED")
        return
    if variable("OTEL_CONFIG_FILE"):
        report.say("where the file of OTEL_CONFIG_FILE says")
        return
    try:
        for name in names(settings):
            if name.startswith("otlp"):
                _endpoint(report, name)
            else:
                report.say({"console": "the console", "local": "the local store (LLMTRACE_STORE)"}.get(name, name))
    except ConfigError as error:
        report.fault(str(error))


def _without_account(text: str) -> str:
    return text.rpartition("@")[2].partition("?")[0] if "//" in text else text


def _endpoint(report: Report, name: str) -> None:
    """Post a request without spans, which every OTLP backend accepts."""
    way = transport(name)
    way_to = f"{way.destination.endpoint} ({way.destination.protocol}, compression {way.encoding})"
    outcome = way.send(Payload(b"", "none", 0), _PATIENCE)
    way.close()
    if outcome.kind == "accepted":
        report.say(f"{way_to} answers")
    else:
        report.fault(f"{way_to} does not take spans: {outcome.said}")


def _disk(report: Report, settings: Settings) -> None:
    report.title("on disk")
    folder = spool_folder(settings)
    if folder is None:
        report.say("no spool: LLMTRACE_SPOOL is off")
    else:
        for line in describe(folder, settings):
            report.say(f"spool {line.strip()}" if not line.startswith(" ") else line)
        if not _writable(folder):
            report.fault(f"{folder} cannot be written: spans would wait in memory only (LLMTRACE_SPOOL)")
    for path in _store(settings):
        size = path.stat().st_size / 1e6 if path.exists() else 0.0
        report.say(f"store {path}  {size:.1f} MB  (LLMTRACE_STORE)")


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


def _store(settings: Settings) -> Iterator[Path]:
    if settings.store != "off":
        yield store_path(settings)


@click.command("doctor")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Check what is hooked, where spans go, and whether they arrive."""
    ctx.exit(run())
