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
    """The destination of spans if no other is configured."""

    def __init__(self, settings: Settings, bodies: RequestBodies | None = None) -> None:
        """Store the settings; no file is opened.

        Args:
            settings: Path and size limits of the store.
            bodies: Request bodies that the store hashes.
        """
        self._settings = settings
        self._bodies = bodies

    @property
    def path(self) -> Path:
        """The file of the store."""
        return locate(self._settings.store)

    def open(self, stats: ExportStats) -> Sink:
        """Return a sink that writes to the store, or to a JSON lines file if the path ends in ``.jsonl``."""
        path, settings = self.path, self._settings
        if path.suffix == ".jsonl":
            from .export.json_lines import JsonLinesExporter

            return ExporterSink(JsonLinesExporter(path), stats, TRACES, durable=True)
        from .store.exporter import StoreExporter
        from .store.sink import StoreSink

        exporter = StoreExporter(
            path, max_mb=settings.store_max_mb, max_days=settings.store_max_days, sent=self._bodies
        )
        return StoreSink(exporter, stats)
