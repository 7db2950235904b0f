"""Fixtures of the tests of LiteLLM."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest


@pytest.fixture(autouse=True)
async def closed_async_clients() -> AsyncIterator[None]:
    """Close the clients that LiteLLM keeps: the event loop ends with the test."""
    import litellm  # not at the top: pytest cannot skip a conftest

    litellm.suppress_debug_info = True

    yield
    for client in litellm.in_memory_llm_clients_cache.cache_dict.values():
        with suppress(Exception):
            await client.close()
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture(scope="module", autouse=True)
def collected_clients() -> Iterator[None]:
    """Collect the clients, whose sockets would be reported in other tests."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
