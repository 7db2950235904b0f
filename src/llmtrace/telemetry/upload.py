"""Upload of content to a store of the user, with references to the files on spans and events.

Variables, attributes and file formats are those of OpenTelemetry's completion hook. Calls never wait for the store:
files that do not fit in the queue are dropped, counted, and logged once.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module, metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

from .._process import after_fork, new_thread, warn_once
from .._settings import ConfigError, environment
from ..model import Blob
from . import names
from .redact import Redactor
from .truncate import dumps, map_text, truncate

_HOOK_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK"
_BASE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH"
_FORMAT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_UPLOAD_FORMAT"
_QUEUE_SIZE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_UPLOAD_MAX_QUEUE_SIZE"
_FORMATS = {"json": "application/json", "jsonl": "application/jsonl"}
_DEFAULT_MAX_QUEUED = 20

_FILES = {
    names.INPUT_MESSAGES: "inputs",
    names.OUTPUT_MESSAGES: "outputs",
    names.SYSTEM_INSTRUCTIONS: "system_instruction",
    names.TOOL_DEFINITIONS: "tool.definitions",
}
_REPEATED = frozenset({names.SYSTEM_INSTRUCTIONS, names.TOOL_DEFINITIONS})
"""Attributes that are the same in many calls: their files are named by a hash and uploaded once."""
_MAX_FILE_BYTES = 64 << 20
"""Maximum bytes of one file; longer texts are cut as on a span."""
_MAX_QUEUED_CHARS = 128 << 20
"""Characters of content that the queue may hold in total."""
_MAX_THREADS = 8
_IDLE_SECONDS = 10.0
_MAX_SHARED_PATHS = 1024


@dataclass(frozen=True, slots=True)
class UntruncatedContent:
    """One content attribute before it is redacted and cut."""

    items: list[Any]
    redact: Redactor | None
    inline: bool


@dataclass(frozen=True, slots=True)
class _Job:
    path: str
    content: UntruncatedContent
    size: int


class Uploads:
    """Background uploader that writes content files below one URL."""

    _store: tuple[Any, str] | None
    """File system and path in it, opened by the first thread that writes."""

    def __init__(self, base: str, file_format: str = "json", max_queued: int = _DEFAULT_MAX_QUEUED) -> None:
        """Store the settings; threads start with the first file.

        Args:
            base: A folder, or a URL that fsspec supports.
            file_format: ``json`` or ``jsonl``.
            max_queued: Maximum number of files that are queued or being written.
        """
        self.base: str = _absolute(base)
        self.lost: int = 0
        """Files that did not fit in the queue or that the store rejected."""
        self._file_format = file_format
        self._max_queued = max_queued
        self._lost_reported = 0
        self._salt = os.urandom(16)
        self._closed = False
        self._reset()
        after_fork(self._reset)

    def send(self, content: Mapping[str, UntruncatedContent]) -> dict[str, str]:
        """Queue ``content`` for upload. Return attributes with the URL of each file that was accepted."""
        call = str(uuid4())
        references: dict[str, str] = {}
        for name, untruncated in content.items():
            if (kind := _FILES.get(name)) is None:
                continue
            shared_name = self._shared_name(name, untruncated)
            path = f"{self.base}/{shared_name or call}_{kind}.{self._file_format}"
            if self._put(path, untruncated, is_shared=shared_name is not None):
                references[name + "_ref"] = path
        return references

    def drain(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until all accepted files are written.

        Return True if all were written and no file was lost since the previous call.
        """
        deadline = time.monotonic() + timeout
        with self._condition:
            done = self._condition.wait_for(lambda: not self._pending, max(0.0, deadline - time.monotonic()))
            lost, self._lost_reported = self.lost - self._lost_reported, self.lost
        return done and not lost

    def close(self, timeout: float) -> bool:
        """Reject further files, and wait like ``drain``."""
        with self._condition:
            self._closed = True
        done = self.drain(timeout)
        with self._condition:
            self._condition.notify_all()
        return done

    def _shared_name(self, name: str, untruncated: UntruncatedContent) -> str | None:
        """Return the file name of content that repeats, a hash; ``None`` for other content.

        With a redactor the hash is salted, so that it does not reveal the content.
        """
        if name not in _REPEATED:
            return None
        salt = b"" if untruncated.redact is None else self._salt
        return sha256(salt + dumps(untruncated.items).encode("utf-8", "replace")).hexdigest()

    def _put(self, path: str, untruncated: UntruncatedContent, *, is_shared: bool) -> bool:
        size = _count_chars(untruncated.items)
        with self._condition:
            if path in self._shared_paths:
                self._shared_paths.move_to_end(path)
                return True
            if self._closed:
                return False
            if self._pending >= self._max_queued or (self._pending and self._pending_chars + size > _MAX_QUEUED_CHARS):
                self._count_lost("the queue is full")
                return False
            self._jobs.append(_Job(path, untruncated, size))
            self._pending += 1
            self._pending_chars += size
            if is_shared:
                self._remember(path)
            needs_thread = not self._idle_threads and self._thread_count < min(_MAX_THREADS, self._max_queued)
            self._thread_count += needs_thread
            self._condition.notify()
        return not needs_thread or self._start_thread()

    def _remember(self, path: str) -> None:
        self._shared_paths[path] = None
        if len(self._shared_paths) > _MAX_SHARED_PATHS:
            self._shared_paths.popitem(last=False)

    def _start_thread(self) -> bool:
        """Start a thread, without the lock: a finalizer on the new thread may need it. Return False if all is lost."""
        try:
            new_thread("upload", self._run, self._condition).start()
        except RuntimeError:
            with self._condition:
                self._thread_count -= 1
                if not self._thread_count:
                    while self._jobs:
                        job = self._jobs.popleft()
                        self._done(job.path, job.size, lost="the interpreter is shutting down")
                return self._thread_count > 0
        return True

    def _run(self, condition: threading.Condition) -> None:
        while True:
            with condition:
                self._idle_threads += 1
                condition.wait_for(lambda: self._jobs or self._closed, _IDLE_SECONDS)
                self._idle_threads -= 1
                if not self._jobs:
                    self._thread_count -= 1
                    return
                job = self._jobs.popleft()
            failure = None
            try:
                self._write(job)
            except Exception as error:
                failure = type(error).__name__  # the message may hold a URL with a key
            with condition:
                self._done(job.path, job.size, lost=failure)
            del job

    def _done(self, path: str, size: int, lost: str | None) -> None:
        self._pending -= 1
        self._pending_chars -= size
        if lost is not None:
            self._shared_paths.pop(path, None)
            self._count_lost(lost)
        self._condition.notify_all()

    def _count_lost(self, reason: str) -> None:
        self.lost += 1
        warn_once(
            f"llmtrace could not upload content ({reason}): the file is dropped; further such losses are only counted",
            about=(self.base, reason),
        )

    def _write(self, job: _Job) -> None:
        if self._store is None:
            import fsspec

            # Open the file system in this thread: opening may already use the network.
            options = {"auto_mkdir": True} if self.base.startswith(("file://", "local://")) else {}
            self._store = fsspec.core.url_to_fs(self.base, **options)
        store, root = self._store
        result = truncate(job.content.items, _MAX_FILE_BYTES, job.content.redact, inline=job.content.inline)
        lines = (
            [result.text]
            if self._file_format == "json"
            else [dumps(_numbered(index, item)) for index, item in enumerate(result.value)]
        )
        path = root.rstrip("/") + job.path[len(self.base) :]
        with store.open(path, "wb", content_type=_FORMATS[self._file_format]) as file:
            for line in lines:
                file.write(line.encode() + b"\n")

    def _reset(self) -> None:
        """Reset queue and threads; in a forked child, the parent writes the files that it accepted."""
        self._condition = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._shared_paths: OrderedDict[str, None] = OrderedDict()
        self._pending = self._pending_chars = self._idle_threads = self._thread_count = 0
        self._store = None


def _numbered(index: int, item: Any) -> Any:
    return {**item, "index": index} if isinstance(item, dict) else item


def _count_chars(items: list[Any]) -> int:
    size = 0

    def text(value: str) -> str:
        nonlocal size
        size += len(value)
        return ""

    def blob(value: Blob) -> None:
        nonlocal size
        size += len(value.data)

    map_text(items, text, blob)
    return size


def _absolute(base: str) -> str:
    scheme, mark, path = base.partition("://")
    return scheme + mark + path.rstrip("/") if mark else f"file://{Path(base).expanduser().absolute()}"


def open_uploads(environ: Mapping[str, str] | None = None) -> Uploads | None:
    """Return the uploader that the variables of OpenTelemetry's completion hook configure.

    Args:
        environ: Environment variables, those of the process by default.

    Returns:
        ``None`` if no hook is set, or one of another instrumentation.

    Raises:
        ConfigError: If a variable has an invalid value, or a library is missing.
    """
    variables = environment.variables() if environ is None else environ
    hook = variables.get(_HOOK_VARIABLE, "").strip()
    if not hook:
        return None
    if hook != "upload":
        hooks = {point.name for point in metadata.entry_points(group="opentelemetry_genai_completion_hook")}
        if hook in hooks:  # a hook of another instrumentation
            return None
        raise ConfigError(f"{_HOOK_VARIABLE}={hook!r} is not accepted; use upload")
    base = variables.get(_BASE_VARIABLE, "").strip()
    if not base:
        raise ConfigError(
            f"{_HOOK_VARIABLE}=upload needs {_BASE_VARIABLE}: a folder, or a URL that fsspec supports, such as s3://bucket/folder"
        )
    file_format = variables.get(_FORMAT_VARIABLE, "").strip().lower() or "json"
    if file_format not in _FORMATS:
        raise ConfigError(f"{_FORMAT_VARIABLE}={file_format!r} is not accepted; use {' or '.join(_FORMATS)}")
    max_queued = variables.get(_QUEUE_SIZE_VARIABLE, "").strip() or str(_DEFAULT_MAX_QUEUED)
    if not max_queued.isdecimal() or int(max_queued[:9]) < 1:
        raise ConfigError(
            f"{_QUEUE_SIZE_VARIABLE}={max_queued!r} is not accepted; use a whole number of files, 1 or more"
        )
    _import_libraries(base)
    return Uploads(base, file_format, int(max_queued[:9]))


def _import_libraries(base: str) -> None:
    """Import the libraries that the threads use, so that a missing one or an unknown URL scheme raises here."""
    try:
        from fsspec import get_filesystem_class
    except ImportError:
        raise ConfigError(f"{_HOOK_VARIABLE}=upload needs fsspec: pip install 'llmtrace-otel[upload]'") from None
    for step in base.split("::"):
        protocol = step.partition("://")[0] if "://" in step or "::" in base else "file"
        try:
            get_filesystem_class(protocol)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{_BASE_VARIABLE}={base!r} is not accepted: {error}") from None
    with suppress(ImportError):  # newer releases import it when they parse the first URL
        import_module("fsspec.implementations.chained")
