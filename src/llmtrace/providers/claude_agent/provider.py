"""The ``claude-agent-sdk`` client library."""

from __future__ import annotations

from ..contract import Provider, hook_in
from .messages import QUERY

CLAUDE_AGENT = Provider(
    name="claude_agent",
    distribution="claude-agent-sdk",
    module="claude_agent_sdk",
    supported=">=0.1.7,<1",
    hook=hook_in("claude_agent.sdk"),
    serves="anthropic",
    routes={("AGENT", "query"): QUERY},
)
