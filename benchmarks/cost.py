"""Cost of pricing a call. Run it with ``python benchmarks/cost.py``."""

from __future__ import annotations

import time

from llmtrace.model import Request, Response
from llmtrace.pricing.price import Pricer

CALLS, ROUNDS = 20_000, 15
CASES = {
    "gpt-4o-mini, input, cached, output": (
        "openai",
        "api.openai.com",
        Request("chat", "gpt-4o-mini"),
        Response(
            model="gpt-4o-mini-2024-07-18",
            usage={
                "input": 1_200,
                "output": 64,
                "cache_read": 1_024,
                "reasoning": 0,
                "audio_input": 0,
                "audio_output": 0,
            },
            service_tier="default",
        ),
    ),
    "claude-sonnet-4-5, tiers and two cache writes": (
        "anthropic",
        "api.anthropic.com",
        Request("chat", "claude-sonnet-4-5"),
        Response(
            model="claude-sonnet-4-5-20250929",
            usage={
                "output": 100,
                "cache_read": 128_955,
                "cache_write": 1_253,
                "cache_write_5m": 1_000,
                "cache_write_1h": 253,
                "input": 130_213,
            },
            service_tier="standard",
        ),
    ),
    "an unknown model": (
        "openai",
        None,
        Request("chat", "nobody"),
        Response(model="nobody", usage={"input": 1, "output": 1}),
    ),
}


def main() -> None:
    start = time.perf_counter()
    pricer = Pricer()
    pricer.load()
    print(f"catalogue loaded in {time.perf_counter() - start:.2f} s")
    for name, (provider, host, request, answer) in CASES.items():
        best = float("inf")
        for _ in range(ROUNDS):
            begun = time.process_time_ns()
            for _ in range(CALLS):
                priced = pricer.price(provider, host, request, answer)
                assert priced is not None
                _ = priced.total
            best = min(best, (time.process_time_ns() - begun) / CALLS)
        print(f"{best / 1e3:6.2f} microseconds  {name}")


if __name__ == "__main__":
    main()
