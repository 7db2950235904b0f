"""Tables of the store, their migrations, and opening of connections."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from .._files import make_private
from .packed import register

APPLICATION_ID = 0x6C6C6D74
"""``llmt``, in the header of every store. Stores of the first release lack it until they are written to."""
_FIRST_TABLES = frozenset({"meta", "texts", "resources", "facts", "traces", "spans", "calls"})
"""Tables of a store of the first release, which has no application id and is identified by them."""

DIMENSION_COLUMNS = (
    "client", "service", "operation", "provider", "request_model", "response_model", "api", "tier",
    "feature", "tenant", "prompt", "prompt_version", "prompt_hash", "tags",
    "outcome", "error_type", "finish", "streamed", "stream_end",
    "usage_source", "unpriced", "approximate", "pinned",
)  # fmt: skip
"""Properties that many calls share. ``dimensions`` has one row for each combination that occurred."""

MEASURES = (
    "duration", "first_token", "input", "output", "cache_read", "cache_write", "reasoning", "cost", "cost_input",
    "estimated_cost", "estimated_input", "estimated_output", "speed", "stalls", "exact_hash", "near_hash",
    "prefix_hash", "prefix_tokens", "wasted_tokens", "user", "session", "labels",
)  # fmt: skip
"""Numbers of each call: microseconds, tokens, trillionths of a dollar, hashes, and ids into ``texts``."""

MIGRATIONS = tuple((Path(__file__).parent / "migrations" / f"{to}.sql").read_text("utf-8") for to in (1, 2, 3))
"""Scripts by the version that they start from. A script that was released never changes."""


class StoreError(Exception):
    """Error for a store that cannot be used. The message is one line and states what to do."""


def default_path() -> Path:
    """Return the path of the store in the user's state folder."""
    from platformdirs import user_state_dir

    return Path(user_state_dir("llmtrace")) / "spans.db"


def demo_path() -> Path:
    """Return the path of the store of ``llmtrace demo``, which is separate from the user's own."""
    return default_path().with_name("demo.db")


def locate(store: str = "") -> Path:
    """Return the absolute path for a ``store`` setting; the default path where it is empty."""
    return Path(os.path.abspath(os.path.expanduser(store))) if store else default_path()


def connect(path: Path, *, write: bool = False, timeout: float = 30.0) -> sqlite3.Connection:
    """Open the store. Opening it for writing creates or migrates the file, readable by its owner only.

    A file of another program is refused before the file or its folder is changed.

    Args:
        path: Path of the file.
        write: Open the store for writing.
        timeout: Seconds to wait for the lock of another process, here and in each later statement.

    Raises:
        StoreError: The file does not exist, is not a store, or was written by a newer release. An error of SQLite or
            of the operating system is its ``__cause__``.
    """
    try:
        if path.exists():
            _refuse_foreign(path)
        elif not write:
            raise StoreError(f"there is no store at {path}; run an instrumented program first, or try: llmtrace demo")
        else:
            _reserve(path)
        # Autocommit mode: ``transaction`` begins and commits explicitly.
        connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    except (OSError, ValueError, sqlite3.Error) as error:
        raise StoreError(f"cannot open the store {path}: {error}") from error
    try:
        _prepare(connection, path, write=write)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"cannot use {path} as a store: {error}; move it away, or name another file") from error
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the changes of the block, or roll all of them back if the block or the commit fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself when the disk is full
            connection.execute("ROLLBACK")
        raise


def _refuse_foreign(path: Path) -> None:
    """Raise ``StoreError`` unless the file is a store or empty. Writes nothing, not even a lock."""
    if not path.is_file():
        raise StoreError(f"{path} is not a regular file; name another path")
    log = Path(f"{path}-wal")
    logged = log.exists() and log.stat().st_size > 0
    try:
        # Immutable: SQLite takes no lock and creates no further files, but ignores the write-ahead log.
        try:
            is_store = _identify(path, "mode=ro&immutable=1")
        except sqlite3.DatabaseError:
            if not logged:
                raise
            is_store = None  # another process may be checkpointing its log
        if is_store is None and logged:
            is_store = _identify(path, "mode=ro")
    except sqlite3.OperationalError:  # locked, or no descriptors left: the file may be a store
        raise
    except sqlite3.DatabaseError as error:
        raise StoreError(f"cannot use {path} as a store: {error}; move it away, or name another file") from None
    if is_store is None:  # SQLite treats a file of less than one page as empty
        is_store = not 0 < path.stat().st_size < 512
    if not is_store:
        raise StoreError(f"{path} is not a store of llmtrace and is left unchanged; name another file")


def _identify(path: Path, options: str) -> bool | None:
    """Return True if the file is a store, ``None`` if it is empty."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True)) as connection:
        connection.execute("BEGIN")  # one snapshot: another process may be creating or migrating the store
        application_id, version = (_pragma(connection, name) for name in ("application_id", "user_version"))
        if application_id == APPLICATION_ID:
            return True
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not application_id and not version and not tables:
        return None
    return not application_id and version > 0 and tables >= _FIRST_TABLES


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _reserve(path: Path) -> None:
    make_private(path.parent)
    # Never open an existing file: closing the descriptor would release the locks of this process's other connections.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _prepare(connection: sqlite3.Connection, path: Path, *, write: bool) -> None:
    register(connection)
    version = _pragma(connection, "user_version")
    if version > len(MIGRATIONS):
        raise StoreError(f"{path} was written by a newer llmtrace; upgrade llmtrace-otel, or name another file")
    if not write:
        if version < 1:
            raise StoreError(f"there is nothing in the store {path} yet; run an instrumented program first")
        if version < 3:
            _alias_tables(connection, version)
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA mmap_size = 4294967296")
        connection.execute("PRAGMA query_only = ON")
        return
    if _pragma(connection, "application_id") != APPLICATION_ID:
        _mark(connection, path)
    if version < len(MIGRATIONS):
        _migrate(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_size_limit = 16777216")


def _alias_tables(connection: sqlite3.Connection, version: int) -> None:
    """Give a store of version 1 or 2 the names of version 3, for this connection only, so that it can be read.

    ``spans`` keeps its column ``facts``: ``llmtrace tail`` reads that table while another process migrates the store.
    """
    packed = "" if version < 2 else ", figures AS metrics, likeness AS similarity"
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("CREATE TEMP VIEW dimensions AS SELECT * FROM main.facts")
    connection.execute(
        "CREATE TEMP VIEW calls AS"
        f" SELECT facts AS dimensions, started, span, {', '.join(MEASURES)}{packed} FROM main.calls"
    )


def _mark(connection: sqlite3.Connection, path: Path) -> None:
    """Set the application id of an empty file or a store of the first release, before any other change."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in an empty file only
    with transaction(connection):
        if _pragma(connection, "application_id") == APPLICATION_ID:  # another process was faster
            return
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if tables and not tables >= _FIRST_TABLES:  # another program was faster
            raise StoreError(f"{path} is not a store of llmtrace and is left unchanged; name another file")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _migrate(connection: sqlite3.Connection) -> None:
    """Migrate the file to the newest version, once, even if several processes try."""
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection):
        for step in MIGRATIONS[_pragma(connection, "user_version") :]:
            for statement in step.split(";\n"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
