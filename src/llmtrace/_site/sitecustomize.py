"""Start-up module that ``llmtrace run`` puts on the path: it instruments the program before its own code runs."""

import os
import sys
from contextlib import suppress

_HERE = os.path.dirname(os.path.abspath(__file__))


def _instrument() -> None:
    try:
        import llmtrace

        llmtrace.instrument()
    except Exception as error:  # never stop the program
        with suppress(Exception):  # sys.stderr may be broken, or the error unprintable
            print(f"llmtrace: not tracing: {error}", file=sys.stderr)


def _run_hidden_module() -> None:
    """Run the environment's own ``sitecustomize``, which this module hides."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path or ".") != _HERE])
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_run_hidden_module()
_instrument()
