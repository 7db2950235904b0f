"""The ``llmtrace`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 a check failed, 2 wrong usage or nothing there."""
    try:
        from . import commands

        status = commands.run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "jinja2", "numpy", "rich"):
            raise
        print('llmtrace: the command line needs: pip install "llmtrace-otel[cli]"', file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the pipe, such as head, has closed it
        with suppress(OSError, ValueError, AttributeError):
            # Discard the rest of the buffer: flushing it at exit would print an error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
