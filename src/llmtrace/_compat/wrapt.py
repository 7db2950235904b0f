"""Base classes of wrapt with type parameters, which its releases 1.x do not accept at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import wrapt

__all__ = ["FunctionWrapper", "ObjectProxy"]

if TYPE_CHECKING:
    FunctionWrapper = wrapt.FunctionWrapper[..., Any]
    ObjectProxy = wrapt.ObjectProxy[Any]
else:
    FunctionWrapper, ObjectProxy = wrapt.FunctionWrapper, wrapt.ObjectProxy
