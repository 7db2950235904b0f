"""Wrappers of other packages on functions that llmtrace hooks after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from inspect import unwrap
from types import CellType
from typing import Any

import wrapt

from .._compat.wrapt import wrapper_of

_INSTRUMENTATION = frozenset({"langfuse", "logfire", "openinference", "openlit", "opentelemetry", "traceloop"})
"""Packages whose wrappers start the span that a call may join, so that the hook belongs below them."""


def below_instrumentation(function: Any) -> Any:
    """Return what is left of ``function`` without the wrappers of other instrumentation."""
    while hasattr(function, "__wrapped__") and package_of(function).partition(".")[0] in _INSTRUMENTATION:
        function = function.__wrapped__
    return function


def bypassing(owner: type, name: str, original: Any) -> Iterator[tuple[type, Any]]:
    """Yield subclasses with a wrapper of ``original`` of another package, and the wrapper."""
    cls: type
    for cls in owner.__subclasses__():
        own = vars(cls).get(name)
        if own is not None and unwrap(own) is unwrap(original):
            yield cls, own
        yield from bypassing(cls, name, original)


def package_of(function: Any) -> str:
    """Return the package that defines a wrapper.

    Its ``__module__`` is of no use: ``functools.wraps`` copies that from the wrapped function.
    """
    wrapper = wrapper_of(function)
    module = getattr(wrapper, "__globals__", {}).get("__name__") or type(wrapper).__module__
    return str(module).partition("._")[0]


def redirect(wrapper: Any, original: Any, replacement: Any) -> Callable[[], None] | None:
    """Make a wrapper call ``replacement`` in place of ``original``.

    Args:
        wrapper: A wrapper of wrapt, or a function that holds ``original`` in its closure; others may enclose it.
        original: The function that it calls now.
        replacement: The function that it calls from now on.

    Returns:
        The function that undoes this, or ``None`` if the wrapper holds ``original`` in another way.
    """
    while wrapper is not replacement and (inner := getattr(wrapper, "__wrapped__", original)) is not original:
        wrapper = inner
    cells = [cell for cell in getattr(wrapper, "__closure__", None) or () if _content(cell) is original]

    def call(function: Any) -> None:
        wrapper.__wrapped__ = function
        for cell in cells:
            cell.cell_contents = function

    if wrapper is replacement:  # another wrapper that calls this one was redirected before
        return lambda: None
    if not (cells or isinstance(wrapper, wrapt.FunctionWrapper)):
        return None
    call(replacement)
    return partial(call, original)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None
