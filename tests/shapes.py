"""Checks of the messages on a span: the schemas of the convention, and the stricter rules of backends."""

from __future__ import annotations

from typing import Any

__all__ = ["problems"]

REASONS = {"stop", "length", "content_filter", "tool_call", "compaction", "error"}
#: part type -> field -> type; a field of these is required
PARTS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "text": {"content": str},
    "reasoning": {"content": str},
    "tool_call": {"name": str},
    "tool_call_response": {},
    "server_tool_call": {"name": str, "server_tool_call": dict},
    "server_tool_call_response": {"server_tool_call_response": dict},
    "blob": {"modality": str, "content": str},
    "uri": {"modality": str, "uri": str},
    "file": {"modality": str, "file_id": str},
}
MAY = {name: (str, type(None)) for name in ("id", "mime_type", "name", "transcript")}


def problems(name: str, value: Any) -> list[str]:
    """Return the problems of a content attribute, or an empty list."""
    if not isinstance(value, list):
        return [f"{name} is no list"]
    found: list[str] = []
    for index, item in enumerate(value):
        where = f"{name}[{index}]"
        if name == "gen_ai.system_instructions":
            found += _part(where, item)
        elif name == "gen_ai.tool.definitions":
            found += _tool(where, item)
        else:
            found += _message(where, item, answer=name == "gen_ai.output.messages")
    return found


def _message(where: str, item: Any, *, answer: bool) -> list[str]:
    if not isinstance(item, dict) or not isinstance(item.get("role"), str):
        return [f"{where} has no role"]
    parts = item.get("parts")
    if not isinstance(parts, list):
        return [f"{where} has no parts"]
    found = [problem for number, part in enumerate(parts) for problem in _part(f"{where}.parts[{number}]", part)]
    if sum(isinstance(part, dict) and part.get("type") == "tool_call_response" for part in parts) > 1:
        found.append(f"{where} has two results of tools")
    if answer and (not isinstance(item.get("finish_reason"), str) or not item["finish_reason"]):
        found.append(f"{where} has no finish reason")
    return found


def _part(where: str, part: Any) -> list[str]:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return [f"{where} has no type"]
    wanted = PARTS.get(part["type"], {})
    found = [f"{where}.{field} is missing" for field, kind in wanted.items() if not isinstance(part.get(field), kind)]
    found += [
        f"{where}.{field} is wrong"
        for field, kind in MAY.items()
        if field in part and not isinstance(part[field], kind)
    ]
    if part["type"] == "compaction" and not isinstance(part.get("content"), (str, type(None))):
        found.append(f"{where}.content is wrong")
    if part["type"] == "tool_call_response" and "response" not in part:
        found.append(f"{where}.response is missing")
    for field in ("server_tool_call", "server_tool_call_response"):
        if field in wanted and not isinstance(part.get(field, {}).get("type"), str):
            found.append(f"{where}.{field} has no type")
    return found


def _tool(where: str, tool: Any) -> list[str]:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str) or not isinstance(tool.get("name"), str):
        return [f"{where} has no type or name"]
    if tool["type"] != "function":
        return [] if set(tool) <= {"type", "name"} else [f"{where} says more than type and name"]
    parameters = tool.get("parameters", {})
    return [] if isinstance(parameters, dict) else [f"{where}.parameters is no object"]
