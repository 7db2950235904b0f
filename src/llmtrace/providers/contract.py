"""Description of a client library: its hook, and the wire format of each of its routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from ..capture.services import CallServices
from ..model.wire_format import WireFormat
from ._patches import Patches

Hook = Callable[["Provider", Any, CallServices], Patches]
"""Function that hooks the imported module of a library. It must not raise for a release that it does not know."""


@dataclass(frozen=True, slots=True)
class NativeSpans:
    """The function with which a client library opens a span of its own for a call.

    While llmtrace traces the call, the function is not called (``LLMTRACE_NATIVE_SPANS=replace``), or its span carries
    the usage (``keep``).
    """

    function: str
    """Its place: ``name``, or ``Class.name``, in ``module``."""
    module: str = ""
    """Module of the function, by default the module of the provider."""
    skip: Callable[..., Any] = lambda *_, **__: None
    """Function with the same arguments, which returns what the library expects where there is no span."""
    span: Callable[[Any], Any] = lambda result: result
    """Function from the result to the span, or to ``None`` if there is none."""


@dataclass(frozen=True, slots=True)
class SearchReaders:
    """Readers of an operation that searches documents and calls no model."""

    request: Callable[[Any], tuple[str | None, str | None, int | None]]
    """Function from the request to the data source, the query and the requested number of documents."""
    documents: Callable[[Any], Iterable[Any]]
    """Function from the response to its documents, as ``llmtrace.retrieval`` takes them."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A client library whose calls llmtrace traces.

    Another package adds one through the entry-point group ``llmtrace.providers``.
    """

    name: str
    """Name in ``LLMTRACE_CLIENTS`` and in ``llmtrace.api``."""
    distribution: str
    """Name on PyPI."""
    module: str
    """Module that is hooked when it is imported."""
    supported: str
    """Releases that are tested, as a version specifier."""
    hook: Hook
    """``stainless``, ``speakeasy``, ``botocore``, or a function of the provider's own."""
    routes: Mapping[tuple[str, str], WireFormat]
    """Wire formats by HTTP method and path, in which ``*`` matches one identifier, or by service and operation of
    AWS. Others are not traced."""
    serves: str = ""
    """Value of ``gen_ai.provider.name`` where neither the client nor its host identifies one; by default ``name``."""
    unwrap: Callable[[Any], Any] | None = None
    """Function from an event of a stream to the chunk inside, if the library wraps its chunks."""
    native_spans: NativeSpans | None = None
    """The library's own spans, if it has any."""
    searches: Mapping[tuple[str, str], SearchReaders] = field(default_factory=dict)
    """Searches by service and operation of AWS."""
    doctor_imports: bool = True
    """False if the import of the library takes seconds or sends requests, so that ``llmtrace doctor`` omits it."""

    @property
    def package(self) -> str:
        """Package that contains ``module``; empty for a top-level module."""
        return self.module.rpartition(".")[0]

    @property
    def default_provider(self) -> str:
        """Value of ``gen_ai.provider.name`` where neither the client nor its host identifies one."""
        return self.serves or self.name

    def install(self, module: Any, services: CallServices) -> Patches:
        """Install the hooks in the imported ``module``."""
        return self.hook(self, module, services)

    def route(self, method: str, url: str) -> WireFormat | None:
        """Return the wire format of a request, or ``None`` if it is not traced.

        Args:
            method: The HTTP method, in any case.
            url: The path, perhaps with a query.
        """
        method, path = method.upper(), url.partition("?")[0]
        exact = self.routes.get((method, path))
        if exact is not None:
            return exact
        parts = path.split("/")
        for (wanted, pattern), wire_format in self.routes.items():
            if wanted == method and "*" in pattern and _matches(pattern.split("/"), parts):
                return wire_format
        return None


def _matches(pattern: list[str], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(
        part == wanted or (wanted == "*" and part) for wanted, part in zip(pattern, parts, strict=True)
    )


def named(prefix: str, routes: Mapping[tuple[str, str], tuple[str, WireFormat]]) -> dict[tuple[str, str], WireFormat]:
    """Return routes whose wire formats carry the name of the library's method.

    Args:
        prefix: The name of the library, such as ``openai``.
        routes: The method below it, such as ``chat.completions.create``, and the wire format, by route.
    """
    return {route: replace(wire_format, api=f"{prefix}.{method}") for route, (method, wire_format) in routes.items()}


def fetched_id(url: str) -> str:
    """Return the id of the object that a request fetches or cancels, or whose parts it lists."""
    path = url.partition("?")[0]
    for ending in ("/cancel", "/events", "/turns"):
        path = path.removesuffix(ending)
    return path.rpartition("/")[2]


def hook_in(name: str) -> Hook:
    """Return the hook ``patch`` of a module in ``providers``, which is imported only when its library is."""

    def hook(provider: Provider, module: Any, services: CallServices) -> Patches:
        patches: Patches = import_module(f".{name}", __package__).patch(provider, module, services)
        return patches

    return hook


stainless: Hook = hook_in("_stainless")
"""Hook for a library generated by Stainless, whose module is ``_base_client``."""
speakeasy: Hook = hook_in("_speakeasy")
"""Hook for a library generated by Speakeasy, whose module is ``basesdk``."""
botocore: Hook = hook_in("_botocore")
"""Hook for botocore, and for aiobotocore when it is imported. The module is ``botocore.client``."""
