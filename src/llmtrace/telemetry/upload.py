"""Content by reference: what was said goes to a store of the user's, and the span says where it lies.

The variables, the attributes and the files are those of OpenTelemetry's own completion hook. Nothing here waits for
the store: what does not fit the queue is dropped, counted, and said once.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module, metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

from .._settings import ConfigError
from ..model import Blob
from . import names
from .redact import Redactor
from .truncate import dumps, map_text, truncate

__all__ = ["UntruncatedContent", "Uploads", "open_uploads"]

_HOOK = "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK"
_BASE = "OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH"
_FORMAT = "OTEL_INSTRUMENTATION_GENAI_UPLOAD_FORMAT"
_QUEUE = "OTEL_INSTRUMENTATION_GENAI_UPLOAD_MAX_QUEUE_SIZE"
_FORMATS = {"json": "application/json", "jsonl": "application/jsonl"}
_DEFAULT_QUEUE = 20

_FILES = {
    names.INPUT_MESSAGES: "inputs",
    names.OUTPUT_MESSAGES: "outputs",
    names.SYSTEM_INSTRUCTIONS: "system_instruction",
    names.TOOL_DEFINITIONS: "tool.definitions",
}
_REPEATED = frozenset({names.SYSTEM_INSTRUCTIONS, names.TOOL_DEFINITIONS})
"""The same in call after call: named by what they say, and sent once."""
_MAX_FILE_BYTES = 64 << 20
"""Bytes of one file; beyond them texts are cut as they are on a span."""
_MAX_QUEUED_BYTES = 128 << 20
"""Characters that may wait in all."""
_THREADS = 8
_IDLE_SECONDS = 10.0
_MAX_REMEMBERED = 1024

_log = logging.getLogger("llmtrace")


@dataclass(frozen=True, slots=True)
class UntruncatedContent:
    """One content attribute before it is redacted and cut."""

    items: list[Any]
    redact: Redactor | None
    inline: bool


@dataclass(frozen=True, slots=True)
class _Job:
    path: str
    whole: UntruncatedContent
    size: int


class Uploads:
    """Writes content below one URL, from threads of its own."""

    _store: tuple[Any, str] | None
    """The file system and the path in it, once a thread has needed them."""

    def __init__(self, base: str, form: str = "json", most: int = _DEFAULT_QUEUE) -> None:
        self.base = _absolute(base)
        self.lost = 0
        """Files that did not fit the queue, or that the store did not take."""
        self._form = form
        self._most = most
        self._said: set[str] = set()
        self._lost_reported = 0
        self._salt = os.urandom(16)
        self._closed = False
        self._forget()
        _all.add(self)

    def send(self, content: Mapping[str, UntruncatedContent]) -> dict[str, str]:
        """Have ``content`` written; gives the attributes that say where, of what was taken in."""
        call = str(uuid4())
        found: dict[str, str] = {}
        for name, whole in content.items():
            if (kind := _FILES.get(name)) is None:
                continue
            known = self._named(name, whole)
            path = f"{self.base}/{known or call}_{kind}.{self._form}"
            if self._put(path, whole, again=known is not None):
                found[name + "_ref"] = path
        return found

    def drain(self, timeout: float) -> bool:
        """Wait until all that was taken in is written. ``True`` when since the last time nothing was lost."""
        deadline = time.monotonic() + timeout
        with self._turn:
            done = self._turn.wait_for(lambda: not self._open, max(0.0, deadline - time.monotonic()))
            lost, self._lost_reported = self.lost - self._lost_reported, self.lost
        return done and not lost

    def close(self, timeout: float) -> bool:
        """``drain``, and take nothing more."""
        with self._turn:
            self._closed = True
        done = self.drain(timeout)
        with self._turn:
            self._turn.notify_all()
        return done

    def _named(self, name: str, whole: UntruncatedContent) -> str | None:
        """A name by what is said, where that comes again and again. Of what is redacted no plain hash leaves either."""
        if name not in _REPEATED:
            return None
        salt = b"" if whole.redact is None else self._salt
        return sha256(salt + dumps(whole.items).encode("utf-8", "replace")).hexdigest()

    def _put(self, path: str, whole: UntruncatedContent, *, again: bool) -> bool:
        size = _weight(whole.items)
        with self._turn:
            if path in self._written:
                self._written.move_to_end(path)
                return True
            if self._closed:
                return False
            if self._open >= self._most or (self._open and self._weight + size > _MAX_QUEUED_BYTES):
                self._count_lost("the queue is full")
                return False
            self._jobs.append(_Job(path, whole, size))
            self._open += 1
            self._weight += size
            if again:
                self._remember(path)
            if not self._idle and self._threads < min(_THREADS, self._most) and not self._start():
                self._jobs.pop()
                self._done(path, size, lost="the interpreter is ending")
                return False
            self._turn.notify()
        return True

    def _remember(self, path: str) -> None:
        self._written[path] = None
        if len(self._written) > _MAX_REMEMBERED:
            self._written.popitem(last=False)

    def _start(self) -> bool:
        try:
            threading.Thread(target=self._work, args=(self._turn,), name="llmtrace-upload", daemon=True).start()
        except RuntimeError:
            return self._threads > 0
        self._threads += 1
        return True

    def _work(self, turn: threading.Condition) -> None:
        while True:
            with turn:
                self._idle += 1
                turn.wait_for(lambda: self._jobs or self._closed, _IDLE_SECONDS)
                self._idle -= 1
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            fault = None
            try:
                self._write(job)
            except Exception as error:
                fault = type(error).__name__  # its message may hold an address with a key in it
            with turn:
                self._done(job.path, job.size, lost=fault)
            del job

    def _done(self, path: str, size: int, lost: str | None) -> None:
        self._open -= 1
        self._weight -= size
        if lost is not None:
            self._written.pop(path, None)
            self._count_lost(lost)
        self._turn.notify_all()

    def _count_lost(self, reason: str) -> None:
        self.lost += 1
        if reason not in self._said:
            self._said.add(reason)
            _log.warning("llmtrace could not upload what was said (%s); such files are dropped and counted", reason)

    def _write(self, job: _Job) -> None:
        if self._store is None:
            import fsspec

            # Made here, since to make one may already ask the network.
            options = {"auto_mkdir": True} if self.base.startswith(("file://", "local://")) else {}
            self._store = fsspec.core.url_to_fs(self.base, **options)
        store, root = self._store
        found = truncate(job.whole.items, _MAX_FILE_BYTES, job.whole.redact, inline=job.whole.inline)
        lines = (
            [found.text] if self._form == "json" else [dumps(_numbered(n, item)) for n, item in enumerate(found.value)]
        )
        path = root.rstrip("/") + job.path[len(self.base) :]
        with store.open(path, "wb", content_type=_FORMATS[self._form]) as file:
            for line in lines:
                file.write(line.encode() + b"\n")

    def _forget(self) -> None:
        """What a parent took in, and a thread of its own would write, is the parent's."""
        self._turn = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._written: OrderedDict[str, None] = OrderedDict()
        self._open = self._weight = self._idle = self._threads = 0
        self._store = None


_all: weakref.WeakSet[Uploads] = weakref.WeakSet()


def _forked() -> None:
    for uploads in list(_all):
        uploads._forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)


def _numbered(number: int, item: Any) -> Any:
    return {**item, "index": number} if isinstance(item, dict) else item


def _weight(items: list[Any]) -> int:
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
    """What the variables of OpenTelemetry's completion hook ask for; ``None`` where they ask for nothing of ours.

    Raises:
        ConfigError: A variable has a wrong value, or a library is missing.
    """
    variables = os.environ if environ is None else environ
    hook = variables.get(_HOOK, "").strip()
    if not hook:
        return None
    if hook != "upload":
        known = {point.name for point in metadata.entry_points(group="opentelemetry_genai_completion_hook")}
        if hook in known:  # asked of another instrumentation, which has hooks of its own
            return None
        raise ConfigError(f"{_HOOK}={hook!r} is not accepted; use upload")
    base = variables.get(_BASE, "").strip()
    if not base:
        raise ConfigError(
            f"{_HOOK}=upload needs {_BASE}: a folder, or a URL that fsspec knows such as s3://bucket/folder"
        )
    form = variables.get(_FORMAT, "").strip().lower() or "json"
    if form not in _FORMATS:
        raise ConfigError(f"{_FORMAT}={form!r} is not accepted; use {' or '.join(_FORMATS)}")
    most = variables.get(_QUEUE, "").strip() or str(_DEFAULT_QUEUE)
    if not most.isdecimal() or int(most[:9]) < 1:
        raise ConfigError(f"{_QUEUE}={most!r} is not accepted; use a whole number of files, 1 or more")
    _check(base)
    return Uploads(base, form, int(most[:9]))


def _check(base: str) -> None:
    """Import what the threads need, which import nothing themselves."""
    try:
        from fsspec import get_filesystem_class
    except ImportError:
        raise ConfigError(f"{_HOOK}=upload needs fsspec: pip install 'llmtrace-otel[upload]'") from None
    for step in base.split("::"):
        protocol = step.partition("://")[0] if "://" in step or "::" in base else "file"
        try:
            get_filesystem_class(protocol)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{_BASE}={base!r} is not accepted: {error}") from None
    with suppress(ImportError):  # newer releases import it with the first address that they take apart
        import_module("fsspec.implementations.chained")
