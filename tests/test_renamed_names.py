"""Private names of other packages: the page that lists them is complete, and calls work without each of them."""

from __future__ import annotations

import ast
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import llmtrace
from llmtrace._compat import http_clients, price_data, standard_library
from llmtrace._compat.otlp_exporters import grpc_settings
from llmtrace._process import forget_warnings, logged_warnings
from llmtrace.pricing.catalog import Catalog

pytestmark = pytest.mark.exhaustive

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(llmtrace.__file__).parent
PAGE = ROOT / "docs" / "reference" / "private-names.md"
PRIVATE = re.compile(r"_[A-Za-z]\w*")
PUBLIC_BY_DOCUMENTATION = {"_logs", "_getframe", "_thread"}
"""``sys._getframe`` and the module ``_thread`` are documented, and so is the API of logs."""
RENAMED = {"opentelemetry", "httpx2", "asyncio"}
"""Packages whose names are renamed in a process of their own."""
READ_AT_IMPORT = ("opentelemetry.sdk.trace:_Span", "opentelemetry:_RUNTIME_CONTEXT", "opentelemetry:_SUPPRESS")


def rows() -> list[tuple[list[str], str]]:
    """Return the names and the consequence of each row of the page."""
    lines = (line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `"))
    return [(re.findall(r"`([\w.]+:\w+)`", names), consequence) for names, _, consequence in lines]


def private_names_in(path: Path, own: set[str]) -> set[str]:
    """Return the private names that a module reads from other objects than its own."""
    names = set()
    is_compat = "_compat" in path.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=str(name)):
                names.add(name)
            case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]):
                names.add(name)
            case ast.ImportFrom(level=0, module=str(module), names=imported):
                names.update([*module.split("."), *(each.name for each in imported)])
            case ast.Import(names=imported):
                names.update(part for each in imported for part in each.name.split("."))
            case ast.Constant(value=str(text)) if re.fullmatch(r"_\w+:\w+", text):
                names.add(text.partition(":")[0])  # an entry point
    private = {name for name in names if PRIVATE.fullmatch(name)} - PUBLIC_BY_DOCUMENTATION
    return private if is_compat else private - own


def defined_names() -> set[str]:
    """Return every name that the package defines."""
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    names.add(name)
                case ast.Attribute(attr=name, ctx=ast.Store()) | ast.Name(id=name, ctx=ast.Store()):
                    names.add(name)
    return names


def test_page_lists_every_private_name() -> None:
    """Each private name of another package in the source is on the page, and each on the page is in the source."""
    listed = {name.rpartition(":")[2] for names, _ in rows() for name in names}
    own = defined_names()
    used = {path: private_names_in(path, own) for path in PACKAGE.rglob("*.py")}
    compat_of_ours = {"_make", "_renew"}
    assert {name for names in used.values() for name in names} - listed - compat_of_ours == set()
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert {name for name in listed if not re.search(rf"\b{name}\b", source)} == set()


def test_private_names_are_read_in_few_places() -> None:
    """Only ``_compat`` and the providers, which hook vendor SDKs, read private names of other packages."""
    own = defined_names()
    others = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if (names := private_names_in(path, own)) and path.relative_to(PACKAGE).parts[0] not in ("_compat", "providers")
    }
    assert others == {}


def test_calls_are_recorded_without_each_private_name() -> None:
    """Spans and gaps stay the same whichever name is gone, and one warning says what it costs."""
    consequences = {
        name: consequence
        for names, consequence in rows()
        for name in names
        if name.partition(":")[0].partition(".")[0] in RENAMED
        and not name.startswith(("opentelemetry.exporter", "opentelemetry.configuration"))
    }
    early = [name for name in consequences if name.startswith(READ_AT_IMPORT)]
    late = [name for name in consequences if name not in early]
    command = [sys.executable, str(ROOT / "tests" / "renamed_names.py"), *early, "import", "none", *late]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr == ""
    results: dict[str, Any] = dict(zip([*early, "none", *late], map(json.loads, done.stdout.splitlines()), strict=True))
    expected = results.pop("none")
    assert expected["warnings"] == []
    assert [json.loads(span)[0] for span in expected["spans"]] == [*["chat gpt-4o"] * 3, "execute_tool t"]
    for name, result in results.items():
        assert result["gaps"] == expected["gaps"], name
        assert bool(result["warnings"]) is not consequences[name].startswith("nothing changes"), (name, result)
        if "not recorded" not in consequences[name]:
            assert result["spans"] == expected["spans"], name


def test_price_data_without_private_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public getter gives the prices of the program; without the registry nothing has a price."""
    forget_warnings()
    custom = SimpleNamespace(providers=(), from_auto_update=False)
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", SimpleNamespace(get_snapshot=lambda: custom))  # type: ignore[arg-type]
    assert price_data.snapshot() is custom
    monkeypatch.delitem(sys.modules, "genai_prices.data_snapshot")
    monkeypatch.delattr(price_data.price_data.load("genai_prices.units"), "_get_registry")
    assert Catalog().units == {}
    assert len(logged_warnings()) == 2


def test_http_client_without_private_names_is_read_through_public_ones() -> None:
    """The request, its body and the headers; a body that was streamed is not read."""
    request = SimpleNamespace(content=b"{}")
    response = SimpleNamespace(request=request, is_closed=True, content=b"{}", headers={})
    assert http_clients.request_of(response) is request
    assert http_clients.body_of(request) == b"{}"
    assert http_clients.is_read(response)
    assert http_clients.header_entries(response.headers) is None
    assert http_clients.request_of(None) is None

    class Streamed:
        is_closed = True

        @property
        def content(self) -> bytes:
            raise RuntimeError("streamed")

    assert http_clients.body_of(Streamed()) is None
    assert not http_clients.is_read(Streamed())


async def test_running_task_is_found_without_private_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """``current_task`` alone is used, which raises outside a loop."""
    import asyncio

    expected = standard_library.running_task()
    monkeypatch.delattr(asyncio, "_get_running_loop")
    assert standard_library.running_task() is expected is asyncio.current_task()
    assert await asyncio.to_thread(standard_library.running_task) is None


def test_signal_handler_is_read_without_private_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public function returns the same handler, and takes longer."""
    fast = standard_library.find_getsignal()
    monkeypatch.setitem(sys.modules, "_signal", None)
    assert standard_library.find_getsignal() is signal.getsignal
    assert fast(signal.SIGINT) == signal.getsignal(signal.SIGINT)


def test_grpc_exporter_without_private_names_is_refused() -> None:
    """The error sends the spans to the local store, and is not met at the first request only."""
    with pytest.raises(AttributeError, match="_client"):
        grpc_settings(SimpleNamespace())
