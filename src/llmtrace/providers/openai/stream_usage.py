"""Have chat streams tell their usage, without the caller's noticing."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from ...capture.call import OpenCall
from ...capture.failure import http_status

__all__ = ["UsageInjector"]

_log = logging.getLogger("llmtrace")


class UsageInjector:
    """Adds ``stream_options.include_usage`` to requests of hosts that are known to take it."""

    def __init__(self, mode: str, hosts: Collection[str] = ()) -> None:
        self._always = mode == "always"
        self._hosts = frozenset({"api.openai.com", *(host.lower() for host in hosts)})
        self._refused: set[str] = set()

    def inject(self, call: OpenCall, options: Any) -> Any:
        """The options with the wish for usage in them, as a copy; the same ones where that is not ours to ask."""
        body = options.json_data
        host = "" if call.server is None else call.server[0]
        if (
            not call.request.stream
            or call.request.api_type != "chat_completions"
            or host in self._refused
            or not (self._always or host in self._hosts)
            or not isinstance(body, dict)
            or _reads_raw_response(options)
        ):
            return options
        told = body.get("stream_options")
        extra = getattr(options, "extra_json", None)
        if isinstance(extra, dict) and "stream_options" in extra:
            return options
        if told is not None and (not isinstance(told, dict) or "include_usage" in told):
            return options
        asked = options.model_copy()
        asked.json_data = {**body, "stream_options": {**(told or {}), "include_usage": True}}
        call.injected_include_usage = True
        return asked

    def forget(self) -> None:
        """Forget which hosts have refused what was added."""
        self._refused.clear()

    def on_error(self, call: OpenCall, error: BaseException) -> None:
        """A host that refuses what we added is left alone from now on."""
        if (
            call.injected_include_usage
            and http_status(error) in (400, 422)
            and "stream_options" in str(error)
            and call.server
        ):
            self._refused.add(call.server[0])
            _log.warning(
                "llmtrace asked %s for the usage of a stream, which it refuses; it is not asked again",
                call.server[0],
            )


def _reads_raw_response(options: Any) -> bool:
    """Whether the caller reads the wire himself, where nothing can be hidden from him."""
    headers = options.headers
    return isinstance(headers, dict) and any(str(name).lower() == "x-stainless-raw-response" for name in headers)
