"""Injection of ``stream_options.include_usage`` into chat streams, so that they report their usage."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from ...capture.failure import http_status
from ...model.call_stages import CallStart
from .._routing import current_routed_call

_ALWAYS_REPORTING = frozenset({"mistral_ai"})
"""Providers whose streams report usage unasked, and that reject ``stream_options``."""
_log = logging.getLogger("llmtrace")


class UsageInjector:
    """Injector of ``stream_options.include_usage`` for hosts that are known to accept it."""

    def __init__(self, mode: str, hosts: Collection[str] = ()) -> None:
        self._always = mode == "always"
        self._hosts = frozenset({"api.openai.com", *(host.lower() for host in hosts)})
        self._rejecting_hosts: set[str] = set()

    def inject(self, call: CallStart, options: Any) -> Any:
        """Return a copy of the options with ``include_usage``, or the same options if it must not be added."""
        extra = getattr(options, "extra_json", None)
        if isinstance(extra, dict) and "stream_options" in extra:
            return options
        # A routing library hides the chunk itself.
        if current_routed_call() is None and _reads_raw_response(options):
            return options
        body = self.inject_body(call, options.json_data)
        if body is options.json_data:
            return options
        injected = options.model_copy()
        injected.json_data = body
        return injected

    def inject_body(self, call: CallStart, body: Any) -> Any:
        """Return a copy of a request body with ``include_usage``, or the same body if it must not be added."""
        host = "" if call.server is None else call.server[0]
        if (
            not call.request.stream
            or call.request.api_type != "chat_completions"
            or call.provider in _ALWAYS_REPORTING
            or host in self._rejecting_hosts
            or not (self._always or host in self._hosts)
            or not isinstance(body, dict)
        ):
            return body
        options = body.get("stream_options")
        if options is not None and (not isinstance(options, dict) or "include_usage" in options):
            return body
        return {**body, "stream_options": {**(options or {}), "include_usage": True}}

    def forget(self) -> None:
        """Forget which hosts rejected ``include_usage``."""
        self._rejecting_hosts.clear()

    def on_error(self, call: CallStart, error: BaseException) -> None:
        """Stop adding ``include_usage`` for a host whose error rejects it."""
        if http_status(error) in (400, 422) and "stream_options" in str(error) and call.server:
            self._rejecting_hosts.add(call.server[0])
            _log.warning(
                "%s rejects stream_options.include_usage; llmtrace no longer adds it for this host", call.server[0]
            )


def _reads_raw_response(options: Any) -> bool:
    """Return true if the caller reads the raw response, in which no chunk can be hidden."""
    headers = options.headers
    return isinstance(headers, dict) and any(str(name).lower() == "x-stainless-raw-response" for name in headers)
