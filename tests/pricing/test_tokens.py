"""Token counts with the encodings of the installed package: no download, any length, any fork."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from llmtrace._compat.isolated_modules import IsolatedModules
from llmtrace.pricing import tokens

pytestmark = pytest.mark.skipif(not tokens.available(), reason="the extra tokens is not installed")


def test_ranks_are_read_from_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting opens no socket, and ignores the variable of tiktoken's cache folder."""
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("a download"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "/nowhere")
    tokens._encoding.cache_clear()
    assert tokens.count("tiktoken is great!", "o200k_base") == 6
    assert tokens.count("antidisestablishmentarianism", "cl100k_base") == 6
    assert tokens.count("<|endoftext|>", "o200k_base") > 1  # text, not a mark
    assert tokens.count("", "o200k_base") == 0
    assert os.environ["TIKTOKEN_CACHE_DIR"] == "/nowhere"


@pytest.mark.parametrize(("text", "expected"), [("word " * 300_000, 300_000), ("\U00013000" * 250_000, 1_000_000)])
def test_long_text_is_counted_in_pieces(text: str, expected: int) -> None:
    """Neither a million characters nor 200,000 tokens, the limits of the library, end the count."""
    assert tokens.count(text, "o200k_base") == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("text-davinci-003", "o200k_base"),
        ("llama-9", "o200k_base"),
        (None, "o200k_base"),
    ],
)
def test_encoding_of_a_model_is_that_of_tiktoken(model: str | None, encoding: str) -> None:
    """Each model is counted with its own encoding, an unknown or very old one with the newest."""
    assert tokens.encoding_of(model) == encoding


@pytest.mark.parametrize("missing", ["tiktoken", "encoding_name_for_model"])
def test_tokens_are_counted_without_tiktoken(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tiktoken, or with one that has no such function, every model has the newest encoding."""
    if missing == "tiktoken":
        monkeypatch.setattr(tokens, "_tiktoken", lambda: IsolatedModules("no_such_package", substitutes={}))
    else:
        monkeypatch.delattr(tokens._tiktoken().load("tiktoken.model"), missing)
    assert tokens.encoding_of("gpt-4") == "o200k_base"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_while_tokens_are_imported_leaves_the_child_able_to_count() -> None:
    """The fork waits for the import: its locks would never be released in the child."""
    program = """
import os, sys, threading, time
import llmtrace
llmtrace.instrument(store="off")
from llmtrace.pricing import tokens
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "bpe_openai.registry":
            importing.set()
            time.sleep(0.3)
importing = threading.Event()
sys.meta_path.insert(0, Slow())
threading.Thread(target=tokens.count, args=("text", "o200k_base")).start()
importing.wait()
child = os.fork()
if child == 0:
    print(tokens.count("tiktoken is great!", "o200k_base"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    filters = ("-W", "ignore::DeprecationWarning", "-W", "error:open_binary is deprecated:DeprecationWarning")
    command = [sys.executable, *filters, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("6\n", "")
