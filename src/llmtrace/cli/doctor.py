"""``llmtrace doctor``: a check of patches, settings, destinations and the disk."""

from __future__ import annotations

import os
import platform
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import click

from .. import _errors
from .._api import version_of
from .._process import forget_warnings, logged_warnings
from .._settings import ConfigError, Settings, load
from .._settings.environment import variable
from ..export.otlp.payload import Payload
from ..export.routes import Routes, spool_folder, transport
from ..export.signals import SIGNALS, Signal
from ..integrations.contract import Integration
from ..integrations.registry import INTEGRATIONS
from ..providers.contract import Provider
from ..providers.registry import providers
from ..report import formatting
from ..store.schema import locate
from .other_instrumentation import installed
from .spool import describe
from .terminal import echo, without_credentials

_PACKAGES = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp", "wrapt", "protobuf", "grpcio")
_CONNECT_TIMEOUT_SECONDS = 3.0
_ABSENT = "not installed"


class DoctorReport:
    """Printer of the report, which remembers if there was a fault."""

    def __init__(self) -> None:
        self.failed: bool = False

    def title(self, name: str) -> None:
        """Print the title of a section."""
        echo()
        echo(name)

    def line(self, text: str) -> None:
        """Print a line of a section."""
        echo(f"  {text}")

    def fault(self, line: str) -> None:
        """Print a fault, which makes the exit status 1."""
        self.failed = True
        echo(f"! {line}")


@click.command("doctor", help="Check instrumentation, settings and destinations.")
def command() -> int:
    """Check this environment, print the results, and return 1 if there are faults, 2 for an invalid setting."""
    report = DoctorReport()
    try:
        settings = load({})
    except ConfigError as error:
        report.fault(str(error))
        return 2
    forget_warnings()  # what is logged from here on is printed too
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
    report.line(f"llmtrace {__version__}, Python {platform.python_version()} on {platform.system()}")
    for name in _PACKAGES:
        report.line(f"{name} {version_of(name, _ABSENT)}")


def _settings(report: DoctorReport, settings: Settings) -> None:
    report.title("settings: value (origin)")
    for field in fields(settings):
        name = f"LLMTRACE_{field.name.upper()}"
        value = without_credentials(_plain(getattr(settings, field.name)))
        report.line(f"{name}={value} ({'environment' if variable(name) else 'default'})")


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
    with llmtrace.instrument(tracer_provider=NoOpTracerProvider()) as instrumentation:
        known = providers()
        absent = {each.name for each in known if each.doctor_imports and not _imported(report, each.module)}
        for name, version in instrumentation.patched.items():
            report.line(f"{name} {version}  traced")
        for name in sorted(absent & instrumentation.waiting.keys()):
            report.line(f"{name}  not installed")
        for name, reason in instrumentation.skipped.items():
            by_setting = reason.startswith(("left out", "LLMTRACE_ENABLED", "OTEL_SDK_DISABLED"))
            (report.line if by_setting else report.fault)(f"{name}  skipped: {reason}")
        # Do not import frameworks: some take seconds, or send telemetry of their own.
        others: list[Provider | Integration] = [*(each for each in known if not each.doctor_imports), *INTEGRATIONS]
        for other in others:
            version = version_of(other.distribution, _ABSENT)
            if version != _ABSENT and other.name in instrumentation.waiting:
                report.line(f"{other.name} {version}  traced once it is imported")
    for place, count in _errors.internal_errors.items():
        report.fault(f"instrumentation error: could not {place} ({formatting.counted(count, 'time')})")


def _other_instrumentation(report: DoctorReport) -> None:
    packages = list(installed())
    if packages:
        report.title("other instrumentation: what to switch off if it is active")
    for name, version, advice in packages:
        report.line(f"{name} {version}: {advice}")


def _imported(report: DoctorReport, module: str) -> bool:
    """Import a module and report if it is broken. Return False if it is not installed."""
    try:
        import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            return False
        report.fault(f"{module} cannot be imported: {error}")
    return True


def _destinations(report: DoctorReport, settings: Settings) -> None:
    report.title("destinations, unless the application sets its own provider")
    for name in ("OTEL_SDK_DISABLED", "OTEL_CONFIG_FILE"):
        if variable(name):
            report.line(f"{name}={variable(name)} (environment)")
    if variable("OTEL_SDK_DISABLED").lower() == "true":
        report.line("nowhere")
        return
    if variable("OTEL_CONFIG_FILE"):
        report.line("as configured in that file")
        return
    for signal in SIGNALS:
        try:
            _destination(report, settings, signal)
        except ConfigError as error:
            report.fault(f"{signal.unit}: {error}")
    for message in logged_warnings():
        report.fault(message)


def _destination(report: DoctorReport, settings: Settings, signal: Signal) -> None:
    selecting = (f"OTEL_{signal.name.upper()}_EXPORTER", *signal.variables("ENDPOINT"))
    exporters = Routes(settings).names(signal)
    for name in exporters:
        if name.startswith("otlp"):
            _endpoint(report, name, signal)
        else:
            place = "the local store" if name == "local" else name
            report.line(f"{signal.unit}: {place}")
    if not exporters:
        report.line(f"{signal.unit}: nowhere")
    for name in (*selecting, *signal.variables("PROTOCOL")):
        if variable(name) and (exporters or name == selecting[0]):
            report.line(f"  {name}={without_credentials(variable(name))} (environment)")
    if not any(map(variable, selecting[:2])) and not exporters:
        report.line(f"  {selecting[0]} is not set (default)")


def _endpoint(report: DoctorReport, name: str, signal: Signal) -> None:
    """Send an empty request, which every OTLP backend accepts."""
    otlp = transport(name, signal)
    destination = otlp.destination
    outcome = otlp.send(Payload(b"", "none", 0), _CONNECT_TIMEOUT_SECONDS)
    otlp.close()
    accepted = outcome.kind == "accepted"
    (report.line if accepted else report.fault)(f"{signal.unit}: {destination.endpoint}")
    status = "accepts requests" if accepted else f"does not accept {signal.unit}: {outcome.message}"
    report.line(f"  {status} ({destination.protocol}, compression {otlp.encoding})")


def _disk(report: DoctorReport, settings: Settings) -> None:
    report.title("on disk")
    folder = spool_folder(settings)
    if folder is None:
        report.line("no spool: LLMTRACE_SPOOL is off")
    else:
        for line in describe(folder, settings):
            report.line(f"spool {line.strip()}" if not line.startswith(" ") else line)
        if not _writable(folder):
            report.fault(f"{folder} is not writable: spans would be buffered in memory only (LLMTRACE_SPOOL)")
    if settings.store != "off":
        path = locate(settings.store)
        size = path.stat().st_size / 1e6 if path.exists() else 0.0
        report.line(f"store {path}  {size:.1f} MB  (LLMTRACE_STORE)")


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)
