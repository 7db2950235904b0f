"""Token counts by ``tiktoken``, with ranks from the wheel ``bpe_openai``: no downloads and no cache on disk."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

from .._compat.isolated_modules import IsolatedModules, StubModule
from .._process import ForkSafeLock

__all__ = ["available", "count", "encoding_of"]

_lock = ForkSafeLock()


@lru_cache(maxsize=1)
def available() -> bool:
    """Return true if the extra ``tokens`` is installed. Call it before any thread counts: it locates their modules."""
    return find_spec("tiktoken") is not None and _modules() is not None and _folder() is not None


@lru_cache(maxsize=1)
def _modules() -> IsolatedModules:
    # Load a private copy: the worker thread counts, and the application may import tiktoken at the same moment.
    return IsolatedModules("tiktoken", "tiktoken_ext", substitutes={"regex": StubModule()})


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    # Only locate the package, do not import it: its data files are enough.
    spec = find_spec("bpe_openai")
    locations = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(locations))) / "data" if locations else None


def encoding_of(model: str | None) -> str:
    """Return the name of the encoding of a model; for unknown models that of OpenAI's newer ones."""
    with _lock:
        models = _modules().load("tiktoken.model")
    try:
        name = models.encoding_name_for_model((model or "").rpartition("/")[2])
    except KeyError:
        name = "o200k_base"
    return "cl100k_base" if name == "cl100k_base" else "o200k_base"


def count(text: str, encoding: str) -> int:
    """Return the number of tokens in ``text``."""
    return len(_encoding(encoding).encode_ordinary(text)) if text else 0


def _encoding(name: str) -> Any:
    with _lock:
        return _build_encoding(name)


@lru_cache(maxsize=4)
def _build_encoding(name: str) -> Any:
    openai_public = _modules().load("tiktoken_ext.openai_public")
    # Run tiktoken's definition with another loader of ranks: its own downloads them, ours reads the wheel.
    define = getattr(openai_public, name)
    build = FunctionType(define.__code__, {**vars(openai_public), "load_tiktoken_bpe": _load_ranks}, define.__name__)
    return _modules().load("tiktoken.core").Encoding(**build())


def _load_ranks(source: str, expected_hash: str | None = None) -> dict[bytes, int]:
    folder = _folder()
    assert folder is not None
    data = gzip.decompress((folder / f"{source.rpartition('/')[2]}.gz").read_bytes())
    if expected_hash is not None and hashlib.sha256(data).hexdigest() != expected_hash:
        raise ValueError(
            f"the ranks in {folder} have another hash than tiktoken expects: install matching versions of tiktoken "
            "and bpe-openai"
        )
    return {
        base64.b64decode(token): int(rank) for token, _, rank in (line.partition(b" ") for line in data.splitlines())
    }
