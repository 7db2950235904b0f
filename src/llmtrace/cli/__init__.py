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
    try:
        parser.parse_args(argv)
    except SystemExit as stop:  # argparse exits; a function had better return
        return stop.code if isinstance(stop.code, int) else 0

    from .demo import run

    return run()
