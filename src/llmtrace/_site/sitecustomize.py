"""Python imports this when it starts, where ``llmtrace run`` has put its folder on the path: instrument, go on."""

import os
import sys
from contextlib import suppress

_HERE = os.path.dirname(os.path.abspath(__file__))


def _instrument() -> None:
    try:
        import llmtrace

        llmtrace.instrument()
    except Exception as error:  # the program is not ours to stop
        with suppress(Exception):  # nor is a broken sys.stderr, or an error that cannot be printed
            print(f"llmtrace: not tracing: {error}", file=sys.stderr)


def _others() -> None:
    """The environment's own module of this name, which ours hides."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path or ".") != _HERE])
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_others()
_instrument()
