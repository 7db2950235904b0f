"""Token counts: ``tiktoken`` names the encoding of a model, ``bpe_openai`` counts with ranks that ship in its wheel.

Nothing is downloaded and there is no cache on disk.
"""

from __future__ import annotations

import warnings
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

from .._compat.isolated_modules import IsolatedModules, StubModule
from .._process import ForkHeldLock

_PIECE_CHARACTERS = 50_000
"""Characters counted at a time: ``bpe_openai`` refuses more than 200,000 tokens, and a character has up to four."""
_DEFAULT_ENCODING = "o200k_base"
_ENCODINGS = frozenset({"cl100k_base", _DEFAULT_ENCODING})

_lock = ForkHeldLock()
"""Held while ``bpe_openai`` is imported and its ranks are read: a child forked meanwhile would wait for it forever."""


@lru_cache(maxsize=1)
def available() -> bool:
    """Return true if the extra ``tokens`` is installed. Call it before any thread counts: it locates the modules."""
    return _tiktoken() is not None and find_spec("bpe_openai") is not None


@lru_cache(maxsize=1)
def _tiktoken() -> IsolatedModules:
    # Load a private copy: the worker thread counts, and the application may import tiktoken at the same moment.
    return IsolatedModules("tiktoken", substitutes={"regex": StubModule(), "tiktoken_ext": StubModule()})


def encoding_of(model: str | None) -> str:
    """Return the name of the encoding of a model; for unknown models that of OpenAI's newer ones."""
    try:
        with _lock:
            models = _tiktoken().load("tiktoken.model")
        name = models.encoding_name_for_model((model or "").rpartition("/")[2])
    except (ImportError, AttributeError, KeyError):  # no tiktoken, another tiktoken, a model that it does not know
        return _DEFAULT_ENCODING
    return name if name in _ENCODINGS else _DEFAULT_ENCODING


def count(text: str, encoding: str) -> int:
    """Return the number of tokens in ``text``. Long texts are counted in pieces."""
    with _lock:
        encode = _encoding(encoding).encode_ordinary
    return sum(len(encode(text[at : at + _PIECE_CHARACTERS])) for at in range(0, len(text), _PIECE_CHARACTERS))


@cache
def _encoding(name: str) -> Any:
    # On Python 3.11 and 3.12 the import warns, and fails where warnings are errors. ``catch_warnings`` would change the
    # filters of other threads for as long as it lasts, so this filter stays.
    warnings.filterwarnings("ignore", "open_binary is deprecated", DeprecationWarning, r"bpe_openai\.")
    import bpe_openai

    return bpe_openai.get_encoding(name)
