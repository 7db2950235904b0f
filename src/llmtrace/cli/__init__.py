"""The ``llmtrace`` command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import __version__

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; 2 means it was called wrongly."""
    parser = argparse.ArgumentParser(prog="llmtrace", description="Trace LLM calls with OpenTelemetry.")
    parser.add_argument("--version", action="version", version=f"llmtrace {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    commands.add_parser("demo", help="trace a small assistant against an offline stand-in for the vendors")
    prices = commands.add_parser("prices", help="say what a model costs here, and from where")
    prices.add_argument("model", nargs="?", help="a model's name as a request or an answer spells it")
    prices.add_argument("--provider", help="OpenTelemetry's name of a provider, such as azure.ai.openai")
    try:
        given = parser.parse_args(argv)
    except SystemExit as stop:  # argparse exits; a function had better return
        return stop.code if isinstance(stop.code, int) else 0

    if given.command == "prices":
        from . import prices as shown

        return shown.run(given.model, provider=given.provider)

    from .demo import run

    return run()
