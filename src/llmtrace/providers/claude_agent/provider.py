"""The ``claude-agent-sdk`` client library."""

from __future__ import annotations

from typing import Any

from ...capture.services import CallServices
from .._patches import Patches
from ..contract import Provider
from .messages import QUERY

__all__ = ["CLAUDE_AGENT"]


def _hook(provider: Provider, module: Any, services: CallServices) -> Patches:
    from .sdk import patch

    return patch(provider, module, services)


CLAUDE_AGENT = Provider(
    name="claude_agent",
    distribution="claude-agent-sdk",
    module="claude_agent_sdk",
    supported=">=0.1.7,<1",
    hook=_hook,
    serves="anthropic",
    routes={("agent", "query"): QUERY},
)
