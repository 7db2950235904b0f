"""The local store as a destination of the export pipeline, which does not know the store itself."""

from __future__ import annotations

from pathlib import Path

from ._settings import Settings
from .export.batch import ExporterSink, Sink
from .export.signals import TRACES
from .export.stats import ExportStats
from .store.request_bodies import RequestBodies
from .store.schema import locate

__all__ = ["LocalStore"]


class LocalStore:
    """The destination of spans with nothing else configured."""

    def __init__(self, settings: Settings, bodies: RequestBodies | None = None) -> None:
        """Set up; nothing is opened.

        Args:
            settings: The path and the bounds of the store.
            bodies: The request bodies that the store hashes.
        """
        self._settings = settings
        self._bodies = bodies

    @property
    def path(self) -> Path:
        """The file that the spans are written to."""
        return locate(self._settings.store)

    def open(self, stats: ExportStats) -> Sink:
        """Return a sink that writes to the store, or to a file of JSON lines where the path says so."""
        path, settings = self.path, self._settings
        if path.suffix == ".jsonl":
            from .export.json_lines import JsonLinesExporter

            return ExporterSink(JsonLinesExporter(path), stats, TRACES, keeps=True)
        from .store.exporter import StoreExporter
        from .store.sink import StoreSink

        exporter = StoreExporter(
            path, max_mb=settings.store_max_mb, max_days=settings.store_max_days, sent=self._bodies
        )
        return StoreSink(exporter, stats)
