"""Prompts: which one, in which version, the calls inside are made with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from opentelemetry.context import Context

from ..._errors import log_internal_error
from ..._settings import ConfigError
from ...model import PromptUse
from .. import state
from ..blocks import Activation, Block, CallArguments, T_co, check_name
from ..validation import clean_label, warn_once
from . import files
from .files import LabelTarget, digest

__all__ = ["Prompt", "load", "prompt"]

_DEFAULT = "prompts"
_PRODUCTION = "production"
_HEADING = re.compile(r"^# (system|user|assistant)[ \t]*$", re.MULTILINE)

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)

Messages = list[dict[str, str]]

_folder: str | None = None


def configure(folder: str | None) -> None:
    """Have prompts loaded from ``folder``; ``None`` for what the environment says."""
    global _folder  # noqa: PLW0603 - one setting for the process
    # The variable is read whenever a prompt is loaded, unless an argument has said otherwise.
    _folder = None if folder == _configured_folder() else folder


def _configured_folder() -> str:
    return os.environ.get("LLMTRACE_PROMPTS", "").strip() or _DEFAULT


def folder() -> Path:
    """Where prompts are: the setting ``prompts``, else ``LLMTRACE_PROMPTS``, else ``prompts``."""
    return Path(_folder or _configured_folder())


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt."""

    name: str
    version: str
    template: str
    """The Jinja template, as the file has it below its front matter."""
    hash: str
    """``sha256:`` and 12 hexadecimal digits of the template."""
    label: str | None = None
    """The label it was chosen by."""
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The other keys of the front matter."""
    commit: str | None = None
    """The Git commit that is checked out, if it holds this very file."""

    def render(self, /, **variables: object) -> Messages:
        """The messages, each with ``role`` and ``content``, ready for a client.

        Raises:
            ConfigError: The template is wrong, or lacks a variable.
        """
        try:
            return [{"role": role, "content": part.render(variables).strip()} for role, part in _parts(self.template)]
        except ConfigError:
            raise
        except _errors() as error:
            raise ConfigError(f"prompt {self.name!r}, version {self.version!r}: {error}") from error

    def use(self, /, **variables: object) -> Block[Messages]:
        """``with prompt.use(name="Ada") as messages``: render, and have the calls inside say
        which prompt they are made with.

        Raises:
            ConfigError: The template is wrong, or lacks a variable.
        """
        return _Named(self._use(variables), self.render(**variables))

    def _use(self, variables: Mapping[str, Any]) -> PromptUse:
        return PromptUse(
            name=self.name,
            version=self.version,
            label=self.label,
            hash=self.hash,
            template=self.template,
            variables=variables or None,
            commit=self.commit,
        )


def load(name: str, *, label: str | None = None) -> Prompt:
    """A prompt from the folder that ``LLMTRACE_PROMPTS`` names (``prompts`` by default), as its files are now.

    Without a label the shares of the label file decide: a label with ``weight = 10`` gets that percentage of sessions,
    ``production`` the rest. The same session, or else user, of the tags around always gets the same, in every
    process. With neither, it is ``production``; without a label file, the latest version.

    Args:
        name: The name of a file without its suffix, or of a folder of versions; ``/`` goes down into folders.
        label: A label of the prompt's ``labels.toml``.

    Raises:
        ConfigError: There is no such prompt or label, or a file is wrong.
    """
    place = files.find(folder(), name)
    chosen, version = _choose(place, name, label) if place.is_dir() else _load_single_file(name, label)
    file = files.read(place, name, version)
    head = dict(file.front_matter)
    model, parameters = head.pop("model", None), head.pop("parameters", None)
    head.pop("version", None)
    return Prompt(
        name=name,
        version=file.version,
        template=file.template,
        hash=digest(file.template),
        label=chosen,
        model=model if isinstance(model, str) else None,
        parameters=parameters if isinstance(parameters, dict) else {},
        metadata=head,
        commit=file.commit,
    )


def _load_single_file(name: str, label: str | None) -> tuple[str | None, None]:
    if label not in (None, _PRODUCTION):
        raise ConfigError(f"prompt {name!r} is one file and has no labels; label={label!r} needs a folder of versions")
    return label, None


def _choose(place: Path, name: str, label: str | None) -> tuple[str | None, str | None]:
    shares = files.labels_of(place)
    if label is not None:
        if label not in shares:
            raise ConfigError(f"prompt {name!r} has no label {label!r}; there: {', '.join(shares) or 'none'}")
        return label, shares[label].version
    scope = state.call_context_of(state.current())
    chosen = label_for_key(name, scope.session or scope.user, shares)
    if chosen is not None:
        return chosen, shares[chosen].version
    versions = files.versions_of(place)
    return None, versions[-1] if versions else None


def label_for_key(name: str, key: str | None, shares: Mapping[str, LabelTarget]) -> str | None:
    """The label that a session or user gets. It rests on nothing but its arguments, so every process agrees."""
    weights = {label: share.weight for label, share in sorted(shares.items()) if share.weight and label != _PRODUCTION}
    rest = _PRODUCTION if _PRODUCTION in shares else max(weights, key=lambda label: weights[label], default=None)
    if key is None or rest is None:
        return rest
    whole = 100 if rest == _PRODUCTION else sum(weights.values())
    place = int.from_bytes(sha256(f"{name}\0{key}".encode("utf-8", "replace")).digest()[:8]) / 2**64 * whole
    for chosen, weight in weights.items():
        if place < weight:
            return chosen
        place -= weight
    return rest


class _Named(Block[T_co]):
    def __init__(self, use: PromptUse | None, value: T_co) -> None:
        super().__init__()
        self._use = use
        self._given = value

    def _enter(self, frame: Activation, function: CallArguments | None) -> Context:
        if self._use is not None:
            frame.scope = replace(frame.scope, prompt=self._use)
        return frame.outer

    def _value(self, frame: Activation) -> T_co:
        return self._given


def prompt(
    name: str,
    *,
    version: str | int | None = None,
    template: str | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Block[None]:
    """Say which prompt the calls inside are made with: context manager and decorator.

    Args:
        name: The prompt's name.
        version: Its version; by default the hash of ``template``.
        template: The text before variables were filled in. Its hash is always recorded, itself only with content
            capture on.
        variables: What was filled in. Recorded only with content capture on.

    Raises:
        TypeError: The name is not text, as where the decorator is written without parentheses.
    """
    if name is not None:
        check_name("prompt", name)
    use = None
    try:
        called = clean_label("the name of a prompt", name)
        if called is None:
            warn_once("prompt", "a prompt needs a name; it is left out")
        else:
            text = template if isinstance(template, str) else None
            hashed = None if text is None else digest(text)
            use = PromptUse(
                name=called,
                version=clean_label("the version of a prompt", version) or hashed,
                hash=hashed,
                template=text,
                variables=dict(variables) if isinstance(variables, Mapping) and variables else None,
            )
    except Exception:
        log_internal_error("read a prompt")
    return _Named(use, None)


@lru_cache(maxsize=256)
def _parts(template: str) -> list[tuple[str, Any]]:
    """Each message's role and compiled template.

    Messages are told apart in the template and not in what it renders to: a variable cannot make a message.
    """
    environment = _environment()
    pieces = _HEADING.split(template)
    if len(pieces) == 1:
        return [("user", environment.from_string(template))]
    before = _COMMENT.sub("", pieces[0]).strip()
    if before:
        raise ValueError(f"there is text before the first heading: {before[:60]!r}")
    roles, texts = pieces[1::2], pieces[2::2]
    return [(role, environment.from_string(text)) for role, text in zip(roles, texts, strict=True)]


def forget_templates() -> None:
    """Forget the templates compiled so far."""
    _parts.cache_clear()


@lru_cache(maxsize=1)
def _environment() -> Any:
    try:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise ConfigError("prompts are rendered with Jinja: pip install 'llmtrace-otel[prompts]'") from None
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


def _errors() -> tuple[type[Exception], ...]:
    from jinja2 import TemplateError
    from jinja2.exceptions import SecurityError

    return TemplateError, SecurityError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError
