"""A client as Speakeasy generates it, reduced to what the hooks use; ``mistralai`` has this form."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

try:
    import httpx2 as httpx
except ImportError:  # older releases of the vendors' SDKs
    import httpx  # type: ignore[no-redef,import-not-found,unused-ignore]

PACKAGE = "speakeasy_made"


class SDKHooks:
    def before_request(self, context: Any, request: Any) -> Any:
        return request


class BaseSDK:
    """Client that sends requests, with up to ``attempts`` retries."""

    def __init__(self, url: str, attempts: int = 1) -> None:
        self.url = url
        self.attempts = attempts
        self.client = httpx.Client()
        self.hooks = SDKHooks()

    def do_request(self, hook_ctx: Any, request: Any, stream: bool = False) -> Any:
        for attempt in range(self.attempts):
            answer = self.client.send(self.hooks.before_request(hook_ctx, request), stream=stream)
            if answer.status_code < 500 or attempt + 1 == self.attempts:
                return answer
        raise AssertionError

    async def do_request_async(self, hook_ctx: Any, request: Any, stream: bool = False) -> Any:
        raise NotImplementedError

    def complete(self, body: Any, *, stream: bool = False) -> Any:
        headers = {"accept": "text/event-stream" if stream else "application/json"}
        request = self.client.build_request("POST", f"{self.url}/v1/chat/completions", json=body, headers=headers)
        answer = self.do_request(SimpleNamespace(base_url=self.url), request, stream=stream)
        return EventStream(answer) if stream else answer


def stream_events(response: Any) -> Iterator[Any]:
    try:
        for line in response.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield SimpleNamespace(data=json.loads(line[6:]))
    finally:
        response.close()


class EventStream:
    def __init__(self, response: Any) -> None:
        self.response = response
        self.generator = stream_events(response)

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> Any:
        return next(self.generator)

    def close(self) -> None:
        self.response.close()


def install() -> None:
    """Put the package into ``sys.modules``."""
    for name, members in (
        ("", {}),
        ("._hooks", {}),
        ("._hooks.sdkhooks", {"SDKHooks": SDKHooks}),
        (".utils", {}),
        (".utils.eventstreaming", {"EventStream": EventStream}),
        (".basesdk", {"BaseSDK": BaseSDK}),
    ):
        module = ModuleType(PACKAGE + name)
        vars(module).update(members)
        sys.modules[PACKAGE + name] = module


def uninstall() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
