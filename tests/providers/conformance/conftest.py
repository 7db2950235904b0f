"""Fixtures of the conformance tests."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_calls import EVERY, Sdk, named


@pytest.fixture(params=EVERY, ids=named)
async def sdk(request: Any, spans: Any, replay: Any) -> Any:
    replay.reset()
    made = Sdk(*request.param, replay.url)
    yield made
    await made.close()
