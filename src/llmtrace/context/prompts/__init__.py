"""Prompts: templates from files, and the name and version of the prompt that calls are made with."""

from __future__ import annotations

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
from ..._settings.environment import variable
from ...model import PromptUse
from .. import state
from ..blocks import Activation, Block, CallArguments, T_co, check_name
from ..validation import clean_label, warn_invalid
from . import files
from .files import LabelTarget, digest

__all__ = ["Prompt", "load", "prompt"]

_DEFAULT_FOLDER = "prompts"
_PRODUCTION = "production"
_HEADING = re.compile(r"^# (system|user|assistant)[ \t]*$", re.MULTILINE)

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)

Messages = list[dict[str, str]]

_folder: str | None = None


def configure(folder: str | None) -> None:
    """Set the folder that prompts are loaded from; ``None`` uses ``LLMTRACE_PROMPTS``."""
    global _folder  # noqa: PLW0603 - one setting for the process
    # Keep only a folder that differs from the environment: the variable is read again at every load.
    _folder = None if folder == _configured_folder() else folder


def _configured_folder() -> str:
    return variable("LLMTRACE_PROMPTS") or _DEFAULT_FOLDER


def folder() -> Path:
    """Return the prompt folder: the setting ``prompts``, else ``LLMTRACE_PROMPTS``, else ``prompts``."""
    return Path(_folder or _configured_folder())


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt."""

    name: str
    version: str
    template: str
    """Jinja template: the text of the file below its front matter."""
    hash: str
    """``sha256:`` and the first 12 hexadecimal digits of the template's SHA-256."""
    label: str | None = None
    """Label by which the version was chosen."""
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the front matter other than ``version``, ``model`` and ``parameters``."""
    commit: str | None = None
    """Id of the checked-out Git commit, if it contains the file with the same content."""

    def render(self, /, **variables: object) -> Messages:
        """Render the template as chat messages.

        Args:
            **variables: The variables of the template.

        Returns:
            Messages with ``role`` and ``content``, in the form that OpenAI's client takes.

        Raises:
            ConfigError: The template is invalid, or uses a variable that is missing.
        """
        try:
            return [{"role": role, "content": part.render(variables).strip()} for role, part in _parts(self.template)]
        except ConfigError:
            raise
        except _errors() as error:
            raise ConfigError(f"prompt {self.name!r}, version {self.version!r}: {error}") from error

    def use(self, /, **variables: object) -> Block[Messages]:
        """Render the template, and record the prompt on the calls inside: ``with prompt.use(name="Ada") as messages``.

        Args:
            **variables: The variables of the template. They are recorded only with content capture on.

        Returns:
            A block whose value is the list of messages that ``render`` returns.

        Raises:
            ConfigError: The template is invalid, or uses a variable that is missing.
        """
        use = PromptUse(
            name=self.name,
            version=self.version,
            label=self.label,
            hash=self.hash,
            template=self.template,
            variables=variables or None,
            commit=self.commit,
        )
        return _PromptBlock(use, self.render(**variables))


def load(name: str, *, label: str | None = None) -> Prompt:
    """Load a prompt from the folder ``LLMTRACE_PROMPTS`` (``prompts`` by default). Files are read at every call.

    Without ``label``, the weights in ``labels.toml`` choose the version: a label with ``weight = 10`` gets 10 percent
    of sessions, and ``production`` gets the rest. The current session tag, or else the user tag, decides, so the same
    session gets the same label in every process. Without both tags, the label is ``production``. Without a label file,
    the version is the latest.

    Args:
        name: The name of a file without its suffix, or of a folder of versions. ``/`` separates folders.
        label: A label in the prompt's ``labels.toml``.

    Returns:
        The prompt, with the version and label that were chosen.

    Raises:
        ConfigError: There is no such prompt or label, or a file is invalid.
    """
    path = files.find(folder(), name)
    chosen_label, version = _choose(path, name, label) if path.is_dir() else (label, None)
    if version is None and label not in (None, _PRODUCTION):
        raise ConfigError(
            f"prompt {name!r} is a single file and has no label {label!r}; labels need a folder of versions, "
            f"such as {name}/1.md"
        )
    file = files.read(path, name, version)
    front_matter = dict(file.front_matter)
    model, parameters = front_matter.pop("model", None), front_matter.pop("parameters", None)
    front_matter.pop("version", None)
    return Prompt(
        name=name,
        version=file.version,
        template=file.template,
        hash=digest(file.template),
        label=chosen_label,
        model=model if isinstance(model, str) else None,
        parameters=parameters if isinstance(parameters, dict) else {},
        metadata=front_matter,
        commit=file.commit,
    )


def _choose(folder: Path, name: str, label: str | None) -> tuple[str | None, str | None]:
    """Return the label and the version to load, ``None`` where the folder has none."""
    targets = files.labels_of(folder)
    if label is not None:
        if label not in targets:
            raise ConfigError(f"prompt {name!r} has no label {label!r}; its labels are: {', '.join(targets) or 'none'}")
        return label, targets[label].version
    call_context = state.call_context_of(state.current())
    chosen = label_for_key(name, call_context.session or call_context.user, targets)
    if chosen is not None:
        return chosen, targets[chosen].version
    versions = files.versions_of(folder)
    return None, versions[-1] if versions else None


def label_for_key(name: str, key: str | None, targets: Mapping[str, LabelTarget]) -> str | None:
    """Return the label for a session or user. It depends on the arguments only, so that all processes agree."""
    weights = {
        label: target.weight for label, target in sorted(targets.items()) if target.weight and label != _PRODUCTION
    }
    rest = _PRODUCTION if _PRODUCTION in targets else max(weights, key=lambda label: weights[label], default=None)
    if key is None or rest is None:
        return rest
    total = 100 if rest == _PRODUCTION else sum(weights.values())
    position = int.from_bytes(sha256(f"{name}\0{key}".encode("utf-8", "replace")).digest()[:8]) / 2**64 * total
    for label, weight in weights.items():
        if position < weight:
            return label
        position -= weight
    return rest


class _PromptBlock(Block[T_co]):
    def __init__(self, use: PromptUse | None, value: T_co) -> None:
        super().__init__()
        self._use = use
        self._block_value = value

    def _enter(self, activation: Activation, function: CallArguments | None) -> Context:
        if self._use is not None:
            activation.call_context = replace(activation.call_context, prompt=self._use)
        return activation.outer

    def _value(self, activation: Activation) -> T_co:
        return self._block_value


def prompt(
    name: str,
    *,
    version: str | int | None = None,
    template: str | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Block[None]:
    """Record which prompt the calls inside are made with: context manager and decorator.

    Use it for prompts that llmtrace does not load; ``Prompt.use`` records its prompt itself.

    Args:
        name: The name of the prompt.
        version: The version of the prompt, by default the hash of ``template``.
        template: The text before variables are filled in. Its hash is always recorded. The text is recorded only with
            content capture on.
        variables: The values of the variables. They are recorded only with content capture on.

    Returns:
        A block to use as ``with prompt(...):`` or ``@prompt(...)``.

    Raises:
        TypeError: The name is not text, which includes a decorator without parentheses.
    """
    if name is not None:
        check_name("prompt", name)
    use = None
    try:
        prompt_name = clean_label("the name of a prompt", name)
        if prompt_name is None:
            warn_invalid("prompt", "a prompt needs a name; it is not recorded")
        else:
            text = template if isinstance(template, str) else None
            template_hash = None if text is None else digest(text)
            use = PromptUse(
                name=prompt_name,
                version=clean_label("the version of a prompt", version) or template_hash,
                hash=template_hash,
                template=text,
                variables=dict(variables) if isinstance(variables, Mapping) and variables else None,
            )
    except Exception:
        log_internal_error("read a prompt")
    return _PromptBlock(use, None)


@lru_cache(maxsize=256)
def _parts(template: str) -> list[tuple[str, Any]]:
    """Return the role and the compiled template of each message.

    The template is split before it is rendered, so that the value of a variable cannot add a message.
    """
    environment = _environment()
    pieces = _HEADING.split(template)
    if len(pieces) == 1:
        return [("user", environment.from_string(template))]
    before = _COMMENT.sub("", pieces[0]).strip()
    if before:
        raise ValueError(f"there is text before the first heading, which belongs to no message: {before[:60]!r}")
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
        raise ConfigError(
            "prompts are rendered with Jinja, which is missing: pip install 'llmtrace-otel[prompts]'"
        ) from None
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


def _errors() -> tuple[type[Exception], ...]:
    from jinja2 import TemplateError
    from jinja2.exceptions import SecurityError

    return TemplateError, SecurityError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError
