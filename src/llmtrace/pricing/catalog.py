"""The public price catalogue (``genai-prices``): which model a name means there, and its prices as a rate card."""

from __future__ import annotations

import os
import re
import sys
import threading
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib.metadata import version
from typing import Any

from .._compat.isolated_modules import IsolatedModules, StubModule
from .._decimal import own_context
from .model_names import name_variants
from .money import amount
from .rate_cards import FIELDS, RateCard, Rates, Unit

__all__ = ["Catalog", "CatalogMatch", "current", "loaded"]

_PROVIDERS = {
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "aws.bedrock": "aws",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gcp.gen_ai": "google",
    "x_ai": "x-ai",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "voyage_ai": "voyageai",
    "z_ai": "zai",
    "minimax_ai": "minimax",
}
"""OpenTelemetry's name of a provider, and the catalogue's where it is another."""

_STAGES = ("preview", "latest", "exp", "experimental", "beta", "thinking", "instruct", "it", "chat", "text", "omni")
_REGIONS = ("global", "us", "eu", "apac", "jp", "au", "ca", "in", "gov", "default")
_VENDOR_PREFIXES = (
    "anthropic",
    "amazon",
    "meta",
    "openai",
    "google",
    "mistral",
    "deepseek",
    "qwen",
    "cohere",
    "models",
)
_FREE = frozenset({("openai", "moderation")})
_MEDIA_MODELS = {"gpt-image": "image_output", "-tts": "audio_output"}
"""Models that answer in one medium, whose price the price of the output is."""
_MEDIA_VENDORS = frozenset({"openai", "azure", "google"})
_IGNORED_WORDS = frozenset((*_STAGES, *_REGIONS, *_VENDOR_PREFIXES))
"""Words around a name that do not make it another model with another price."""
_WORD = re.compile(r"[^-_.:@/ ]+")
_VERSION = re.compile(r"^(?:v?\d+|r\d+)$")


@dataclass(frozen=True, slots=True)
class CatalogMatch:
    """A model of the catalogue, and the provider it was asked of."""

    provider: Any
    model: Any

    @property
    def own(self) -> bool:
        """Not borrowed from the catalogue of the vendor whose models this provider resells."""
        return any(self.model is each for each in self.provider.models)


def current() -> Catalog:
    """The catalogue as it is now. The first call reads ``genai-prices``, which takes about half a second."""
    global _current  # noqa: PLW0603 - one for the process
    with _lock, own_context():
        if _current is None or not _current.fresh:
            _current = Catalog()
        return _current


def loaded() -> Catalog | None:
    """The catalogue, if it is there."""
    return _current


_current: Catalog | None = None
_lock = threading.Lock()


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - whoever held it is not here
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)


# A private copy: the package's own ``__init__`` imports an updater, which imports an HTTP library. ``pydantic`` only
# validates prices that come from elsewhere.
_genai_prices = IsolatedModules("genai_prices", substitutes={"pydantic": StubModule(), "typing_extensions": typing})


def _latest() -> Any:
    """Return the snapshot that the application had the library fetch or set, else the one in the package."""
    applications = getattr(sys.modules.get("genai_prices.data_snapshot"), "_custom_snapshot", None)
    if applications is not None:
        return applications
    return _genai_prices.load("genai_prices.data_snapshot").get_snapshot()


class Catalog:
    """One snapshot of the catalogue."""

    def __init__(self) -> None:
        self.snapshot = _latest()
        self.version = f"genai-prices {version('genai-prices')}"
        if self.snapshot.from_auto_update:
            self.version += f" of {self.snapshot.timestamp:%Y-%m-%d %H:%M}"
        self._providers = {provider.id: provider for provider in self.snapshot.providers}
        registry = _genai_prices.load("genai_prices.units")._get_registry().units
        self._per = {unit.price_key: unit.per for unit in registry.values()}
        self._units = {unit.price_key: Unit(unit.usage_key, unit.dimensions) for unit in registry.values()}
        self.units = {unit.name: unit for unit in self._units.values()}
        self.fields = {counted: self.units[name] for name, counted in reversed(FIELDS.items()) if name in self.units}

    @property
    def fresh(self) -> bool:
        """Whether this is still the snapshot of the moment: the application may have the library renew it."""
        return _latest() is self.snapshot

    def newest(self, today: date) -> date | None:
        """The last day up to ``today`` on which a price began, as far as the catalogue dates them."""
        days = [
            constraint.start_date
            for provider in self.snapshot.providers
            for model in provider.models
            for constraint in _constraints(model)
            if hasattr(constraint, "start_date")
        ]
        return max((day for day in days if day <= today), default=None)

    def find(self, provider: str, name: str) -> CatalogMatch | None:
        """The model that ``name`` means at ``provider``, which is OpenTelemetry's word for it."""
        if provider == "hugging_face":
            # Its router takes ``model:provider``, and prices are those of the provider.
            name, _, inner = name.rpartition(":")
            provider = f"huggingface_{inner}"
        seller = self._providers.get(_PROVIDERS.get(provider, provider))
        if seller is None:
            return None
        plain = name_variants(name)
        if plain and plain[0].startswith(f"{seller.id}/"):  # as gateways write it
            plain += name_variants(plain[0].removeprefix(f"{seller.id}/"))
        for spelling in plain:
            model = self._match(seller, spelling)
            if model is not None:
                return CatalogMatch(seller, model)
        return None

    def find_anywhere(self, name: str) -> CatalogMatch | None:
        """The model that ``name`` means at the vendor that made it."""
        try:
            maker = self.snapshot.find_provider(name.lower(), None, None)
        except LookupError:
            return None
        return self.find(maker.id, name)

    def _match(self, seller: Any, name: str) -> Any:
        others = [self._providers.get(other) for other in seller.fallback_model_providers or ()]
        for provider in [seller, *filter(None, others)]:
            for model in provider.models:
                if model.id.lower() == name or _matches_exactly(model.match, name):
                    return model
        return None

    def card(
        self, found: CatalogMatch, context: Mapping[str, str], at: float
    ) -> tuple[RateCard, float, float, frozenset[str]]:
        """The card of a model, the times between which it holds, and the keys of ``context`` that had a row."""
        model = found.model
        moment = datetime.fromtimestamp(at, UTC)
        prices = model.get_prices(moment, context if found.own else None)
        consumed = {
            key
            for variant in (model.price_variants or () if found.own else ())
            if variant.constraint is None or variant.constraint.active(moment)
            if all(context.get(key) == value for key, value in variant.when.items())
            for key in variant.when
        }
        card = RateCard(
            model=model.id,
            source="catalog",
            version=self.version,
            rates=dict(self._rates(prices)) or self._free(found),
            known=self.fields,
            **_provider_quirks(found),
        )
        since, until = _window(model, moment)
        return card, since, until, frozenset(consumed)

    def _free(self, found: CatalogMatch) -> dict[Unit, Rates]:
        """The prices of a model that has none because it is given away; of most others they are merely not known."""
        model = found.model.id
        if model.endswith(":free") or (found.provider.id, model) in _FREE:
            return {self.units[name]: Rates(0) for name in ("input_tokens", "output_tokens")}
        return {}

    def _rates(self, prices: Any) -> Iterator[tuple[Unit, Rates]]:
        for key, price in vars(prices).items():
            unit = self._units.get(key)
            if unit is None or price is None:
                continue
            per = self._per[key]
            if hasattr(price, "tiers"):
                tiers = tuple((tier.start, amount(tier.price, per)) for tier in price.tiers)
                yield unit, Rates(amount(price.base, per), tiers)
            else:
                yield unit, Rates(amount(price, per))


def _provider_quirks(found: CatalogMatch) -> dict[str, Any]:
    """What vendors do that no price row says."""
    provider, name = found.provider.id, found.model.id
    habits: dict[str, Any] = {}
    media = {field for word, field in _MEDIA_MODELS.items() if word in name and provider in _MEDIA_VENDORS}
    if provider == "google":
        habits["omits_zeros"] = True
        # Google lists a modality of the prompt only where its price is another than that of text.
        media |= {"image_input", "audio_input", "video_input"}
        if name.startswith(("gemini-1", "gemini-2")):
            # Up to this generation Google bills a grounded prompt once, however many queries it takes.
            habits["renamed"] = {"web_searches": "grounded_prompts"}
    elif provider == "groq" and name in ("whisper-large-v3", "whisper-large-v3-turbo"):
        habits["least_seconds"] = 10
    elif provider in ("openai", "azure") and "search-preview" in name:
        habits["silent_search"] = True
    if media:
        habits["included"] = frozenset(media)
    return habits


def _matches_exactly(clause: Any, name: str) -> bool:
    """Whether ``clause`` of the catalogue matches ``name`` for what it is.

    A clause may ask only for a beginning or a part, which other models share: ``o4-mini`` is part of
    ``o4-mini-deep-research``, at half its price. What is left of such a name must be dates, versions and the like.
    """
    alternatives = getattr(clause, "or_", None)
    if alternatives is not None:
        return any(_matches_exactly(each, name) for each in alternatives)
    if not clause.is_match(name):
        return False
    required = getattr(clause, "and_", None)
    loose = [part for each in (required or [clause]) if (part := _part(each)) is not None]
    return not loose or any(_is_ignored(name.replace(part, " ", 1)) or part.startswith("ft:") for part in loose)


def _part(clause: Any) -> str | None:
    for kind in ("starts_with", "ends_with", "contains"):
        part = getattr(clause, kind, None)
        if isinstance(part, str):
            return part.lower()
    return None


def _is_ignored(rest: str) -> bool:
    return all(word in _IGNORED_WORDS or _VERSION.match(word) or word.startswith("ft") for word in _WORD.findall(rest))


def _constraints(model: Any) -> list[Any]:
    dated = model.prices if isinstance(model.prices, list) else []
    return [each.constraint for each in (*dated, *(model.price_variants or ())) if each.constraint is not None]


def _window(model: Any, moment: datetime) -> tuple[float, float]:
    """The stretch of time around ``moment`` in which no price of ``model`` changes."""
    changes: list[datetime] = []
    for constraint in _constraints(model):
        if hasattr(constraint, "start_date"):
            changes.append(datetime.combine(constraint.start_date, time(), UTC))
        else:
            for edge in (constraint.start_time, constraint.end_time):
                zoned = edge if edge.tzinfo else edge.replace(tzinfo=UTC)
                for day in (-2, -1, 0, 1, 2):
                    near = moment.date() + timedelta(days=day)
                    changes.append(datetime.combine(near, zoned).astimezone(UTC))
    before = [change.timestamp() for change in changes if change <= moment]
    after = [change.timestamp() for change in changes if change > moment]
    return max(before, default=float("-inf")), min(after, default=float("inf"))
