"""Where spans go: the provider given, else the application's own, else one of ours."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult

from .._config import ConfigError, Settings
from .bridged import Bridged, bridges_for

if sys.platform != "win32":
    import fcntl

__all__ = ["JsonLinesExporter", "Pipeline"]

_log = logging.getLogger("llmtrace")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTERS = ("otlp", "otlp_proto_http", "otlp_proto_grpc", "console", "none")


class JsonLinesExporter(SpanExporter):
    """One JSON object per span and line, appended to a file only its owner may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._complained = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            lines = "".join(span.to_json(indent=None) + "\n" for span in spans).encode()
            with self._opened() as descriptor:
                rest = memoryview(lines)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
        except Exception as error:
            if not self._complained:
                self._complained = True
                _log.warning("llmtrace could not write spans to %s: %s", self.path, error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    @contextmanager
    def _opened(self) -> Iterator[int]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if (
                sys.platform != "win32"
            ):  # a lock of the file serves threads and processes alike, and no fork inherits it held
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield descriptor
            else:  # pragma: no cover - Windows
                with self._lock:
                    yield descriptor
        finally:
            os.close(descriptor)


class _Watched(SpanExporter):
    """Passes spans on and remembers whether some were lost, which the SDK's processors do not tell."""

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner
        self.busy = 0
        self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.busy = len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self.inner.export(spans)
        finally:
            self.busy = 0
            if result is not SpanExportResult.SUCCESS:
                self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self.inner.force_flush(timeout_millis)


class Pipeline:
    """Gives every call its tracer provider, and looks after the one that is ours."""

    def __init__(self, settings: Settings, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._settings = settings
        self._given = tracer_provider
        self._lock = threading.Lock()
        self._own: SdkTracerProvider | None = None
        self._exporters: list[_Watched] | None = None
        self._processors: list[BatchSpanProcessor] = []
        self._where: str | None = None
        self._closed = False

    def provider(self) -> trace.TracerProvider:
        if self._given is not None:
            return self._given
        current = _global()
        if current is not None:
            return current
        own = self._own
        return own if own is not None else self._create()

    def own(self) -> bool:
        """Whether spans leave through exporters of ours."""
        return self._given is None and _global() is None

    def prepare(self) -> None:
        """Build our exporters now if they will be needed, so that a wrong variable is told at once."""
        if self._given is not None or _global() is not None:
            return
        with self._lock:
            if self._exporters is None:
                self._exporters = self._build()

    def flush(self, timeout: float) -> bool:
        """Send what is waiting. ``True`` when all of it reached its destination in time."""
        deadline = time.monotonic() + max(0.0, timeout)
        own = self._own
        done = True
        foreign = self._given if self._given is not None else _global()
        if foreign is not None:
            done = _force_flush(foreign, deadline)
        if own is not None and not self._closed:
            done = _force_flush(own, deadline) and done
        return self._nothing_lost() and done

    def shutdown(self, timeout: float) -> bool:
        """Flush, and close the provider that is ours. One that is not ours is only flushed."""
        deadline = time.monotonic() + max(0.0, timeout)
        with self._lock:
            first, self._closed = not self._closed, True
            exporters, processors, own = self._exporters or [], self._processors, self._own
        done = True
        if first and own is None:
            for exporter in exporters:  # built, never used
                done = _bounded(partial(_true, exporter.shutdown), deadline) and done
        elif first:
            for processor in processors:
                done = _close(processor, deadline) and done
        foreign = self._given if self._given is not None else _global()
        if foreign is not None:
            done = _force_flush(foreign, deadline) and done
        return self._nothing_lost() and done

    def _nothing_lost(self) -> bool:
        """Whether no span was lost, or is still under way, since this was last asked."""
        well = True
        for exporter in self._exporters or ():
            well = well and not exporter.lost and not exporter.busy
            exporter.lost = 0
        return well

    def _create(self) -> SdkTracerProvider:
        with self._lock:
            if self._own is not None:
                return self._own
            own = SdkTracerProvider(shutdown_on_exit=False)
            if not self._closed:
                if self._exporters is None:
                    try:
                        self._exporters = self._build()
                    except ConfigError as error:  # too late to raise at anybody
                        self._exporters = []
                        _log.warning("llmtrace exports no spans: %s", error)
                for exporter in self._exporters:
                    processor = BatchSpanProcessor(exporter)
                    self._processors.append(processor)
                    own.add_span_processor(processor)
                if self._where is not None and sys.stderr is not None:
                    with suppress(OSError, ValueError):
                        print(f"llmtrace: writing spans to {self._where}", file=sys.stderr)
            self._own = own
            return own

    def _build(self) -> list[_Watched]:
        if _variable("OTEL_SDK_DISABLED").lower() == "true":
            return []
        names = [name for part in _variable("OTEL_TRACES_EXPORTER").split(",") if (name := part.strip().lower())]
        for name in names:
            if name not in _EXPORTERS:
                raise ConfigError(f"OTEL_TRACES_EXPORTER={name!r} is not accepted; use {', '.join(_EXPORTERS)}")
        if not names and any(map(_variable, _ENDPOINTS)):
            names = ["otlp"]
        if names:
            return [_Watched(self._bridged(name)) for name in dict.fromkeys(names) if name != "none"]
        if self._settings.store == "off":
            return []
        path = _store_path(self._settings.store)
        self._where = str(path)
        return [_Watched(JsonLinesExporter(path))]

    def _bridged(self, name: str) -> SpanExporter:
        exporter = _exporter(name)
        bridges = bridges_for(self._settings.bridges, getattr(exporter, "_endpoint", None))
        return Bridged(exporter, bridges) if bridges and name != "console" else exporter


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _global() -> trace.TracerProvider | None:
    """The provider the application set, if it did. Asking the API's getter might set one."""
    current: trace.TracerProvider | None = getattr(trace, "_TRACER_PROVIDER", None)
    if current is None or isinstance(current, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return current


def _store_path(store: str) -> Path:
    if store:
        return Path(os.path.abspath(os.path.expanduser(store)))
    from platformdirs import user_state_dir

    return Path(user_state_dir("llmtrace")) / "spans.jsonl"


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter()
    grpc = name == "otlp_proto_grpc" or (name == "otlp" and _protocol() == "grpc")
    try:
        if grpc:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

            return GrpcExporter()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

        return HttpExporter()
    except ImportError as error:
        raise ConfigError(f"the OTLP exporter is missing ({error}); pip install opentelemetry-exporter-otlp") from error
    except Exception as error:
        raise ConfigError(f"an OTEL_EXPORTER_OTLP_* variable is not accepted: {error}") from error


def _protocol() -> str:
    for variable in _PROTOCOLS:
        value = _variable(variable).lower()
        if value in ("grpc", "http/protobuf"):
            return value
        if value:
            raise ConfigError(f"{variable}={value!r} is not accepted; use grpc or http/protobuf")
    return "http/protobuf"


def _true(work: Callable[[], object]) -> bool:
    work()
    return True


def _bounded(work: Callable[[], bool], deadline: float) -> bool:
    """Run ``work`` and wait for it no longer than the deadline, whatever it thinks of timeouts."""
    answers: list[bool] = []

    def run() -> None:
        try:
            answers.append(work())
        except Exception:
            _log.debug("llmtrace could not flush", exc_info=True)

    worker = threading.Thread(target=run, name="llmtrace-flush", daemon=True)
    try:
        worker.start()
    except RuntimeError:  # the interpreter is ending and starts no more threads
        run()
    else:
        worker.join(max(0.0, deadline - time.monotonic()))
    return bool(answers and answers[0])


def _force_flush(provider: object, deadline: float) -> bool:
    force_flush = getattr(provider, "force_flush", None)
    if not callable(force_flush):
        return True

    def work() -> bool:
        left = max(0, int((deadline - time.monotonic()) * 1000))
        try:
            return force_flush(left) is not False
        except TypeError:
            return force_flush() is not False

    return _bounded(work, deadline)


def _close(processor: BatchSpanProcessor, deadline: float) -> bool:
    """Shut down with a limit, which the processor's own method does not take.

    What it wraps does, and needs no new thread for it, so that this also works while the interpreter ends.
    """
    inner = getattr(processor, "_batch_processor", None)
    if inner is None:
        return _bounded(partial(_true, processor.shutdown), deadline)
    try:
        inner.shutdown(timeout_millis=max(0, int((deadline - time.monotonic()) * 1000)))
    except Exception:
        _log.debug("llmtrace could not shut down its exporter", exc_info=True)
        return False
    return not getattr(inner, "_queue", ())
