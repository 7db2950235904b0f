"""Base classes of wrapt with type parameters, which its releases 1.x do not accept at run time, and its wrappers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    BoundFunctionWrapper = wrapt.BoundFunctionWrapper[..., Any]
    FunctionWrapper = wrapt.FunctionWrapper[..., Any]
    ObjectProxy = wrapt.ObjectProxy[Any]
else:
    BoundFunctionWrapper, FunctionWrapper = wrapt.BoundFunctionWrapper, wrapt.FunctionWrapper
    ObjectProxy = wrapt.ObjectProxy


def wrapper_of(function: Any) -> Any:
    """Return the function that wraps ``function`` through wrapt, ``function`` itself if none does."""
    return getattr(function, "_self_wrapper", function)
