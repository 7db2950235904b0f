"""The local store as a destination of the export pipeline, which does not know the store itself."""

from __future__ import annotations

from ._settings import Settings
from ._sink import Sink
from .export.batch import ExporterSink
from .export.routes import Route
from .export.signals import TRACES
from .export.stats import ExportStats
from .store.request_bodies import RequestBodies
from .store.schema import locate


def open_store(settings: Settings, bodies: RequestBodies | None, stats: ExportStats) -> Route:
    """Return the route to the store, or to a JSON lines file if its path ends in ``.jsonl``."""
    path = locate(settings.store)
    sink: Sink
    if path.suffix == ".jsonl":
        from .export.json_lines import JsonLinesExporter

        sink = ExporterSink(JsonLinesExporter(path), stats, TRACES, durable=True)
    else:
        from .store.exporter import StoreExporter
        from .store.sink import StoreSink

        exporter = StoreExporter(path, max_mb=settings.store_max_mb, max_days=settings.store_max_days, sent=bodies)
        sink = StoreSink(exporter, stats)
    return Route(sink, stats, str(path), announced=True)
