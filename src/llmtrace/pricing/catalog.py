"""The public price catalog (``genai-prices``): look-up of models by name, and their prices as rate cards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib.metadata import version
from typing import Any

from .._compat import price_data
from .._decimal import own_context
from .._process import ForkSafeLock
from .model_names import name_variants
from .money import amount
from .rate_cards import FIELDS, TABLES, RateCard, Rates, Unit

_PROVIDERS: dict[str, str] = TABLES["providers"]
_IGNORED_WORDS = frozenset(TABLES["words"]["ignored"])
_FREE_MODELS = frozenset({("openai", "moderation")})
"""Providers and models without a price in the catalog that cost nothing."""
_MEDIA_MODELS = {"gpt-image": "image_output", "-tts": "audio_output"}
"""Classes of usage by part of a model name: these models generate one medium, at the price of the output."""
_MEDIA_VENDORS = frozenset({"openai", "azure", "google"})
_WORD = re.compile(r"[^-_.:@/ ]+")
_VERSION = re.compile(r"^(?:v?\d+|r\d+)$")


@dataclass(frozen=True, slots=True)
class CatalogMatch:
    """A model of the catalog, and the provider that was called."""

    provider: Any
    model: Any

    @property
    def own(self) -> bool:
        """True if the provider lists the model itself; false if the model is from a vendor whose models it resells."""
        return any(self.model is model for model in self.provider.models)


def current() -> Catalog:
    """Return the current catalog. The first call reads ``genai-prices``, which takes about half a second."""
    global _current  # noqa: PLW0603 - one for the process
    with _lock, own_context():
        if _current is None or not _current.fresh:
            _current = Catalog()
        return _current


def loaded() -> Catalog | None:
    """Return the catalog, or ``None`` before it is read."""
    return _current


_current: Catalog | None = None
_lock = ForkSafeLock()


class Catalog:
    """One snapshot of the catalog."""

    def __init__(self) -> None:
        self.snapshot: Any = price_data.snapshot()
        self.version: str = f"genai-prices {version('genai-prices')}"
        if self.snapshot.from_auto_update:
            self.version += f" of {self.snapshot.timestamp:%Y-%m-%d %H:%M}"
        self._providers = {provider.id: provider for provider in self.snapshot.providers}
        units = list(price_data.units())
        self._per = {unit.price_key: unit.per for unit in units}
        self._units = {unit.price_key: Unit(unit.usage_key, unit.dimensions) for unit in units}
        self.units: dict[str, Unit] = {unit.name: unit for unit in self._units.values()}
        self.fields: dict[str, Unit] = {
            counted: self.units[name] for name, counted in reversed(FIELDS.items()) if name in self.units
        }

    @property
    def fresh(self) -> bool:
        """True if the snapshot is current: the updater of ``genai-prices`` may replace it in the application."""
        return price_data.snapshot() is self.snapshot

    def newest(self, today: date) -> date | None:
        """Return the latest start date of a price up to ``today``; ``None`` if the catalog has no dates."""
        days = [
            constraint.start_date
            for provider in self.snapshot.providers
            for model in provider.models
            for constraint in _constraints(model)
            if hasattr(constraint, "start_date")
        ]
        return max((day for day in days if day <= today), default=None)

    def find(self, provider: str, name: str) -> CatalogMatch | None:
        """Return the model with a name at a provider (OpenTelemetry's name), or ``None`` if there is none."""
        if provider == "hugging_face":
            # Split ``model:provider``, the syntax of its router: the provider decides the price.
            name, _, inner = name.rpartition(":")
            provider = f"huggingface_{inner}"
        vendor = self._providers.get(_PROVIDERS.get(provider, provider))
        if vendor is None:
            return None
        variants = name_variants(name)
        if variants and variants[0].startswith(f"{vendor.id}/"):  # Gateways prefix the vendor.
            variants += name_variants(variants[0].removeprefix(f"{vendor.id}/"))
        for variant in variants:
            model = self._match(vendor, variant)
            if model is not None:
                return CatalogMatch(vendor, model)
        return None

    def find_anywhere(self, name: str) -> CatalogMatch | None:
        """Return the model with a name at the vendor that develops it, or ``None`` if there is none."""
        try:
            owner = self.snapshot.find_provider(name.lower(), None, None)
        except LookupError:
            return None
        return self.find(owner.id, name)

    def _match(self, vendor: Any, name: str) -> Any:
        others = [self._providers.get(other) for other in vendor.fallback_model_providers or ()]
        for provider in [vendor, *filter(None, others)]:
            for model in provider.models:
                if model.id.lower() == name or _matches_exactly(model.match, name):
                    return model
        return None

    def card(
        self, match: CatalogMatch, context: Mapping[str, str], at: float
    ) -> tuple[RateCard, float, float, frozenset[str]]:
        """Return the rate card of a model at a time.

        Args:
            match: The model.
            context: Parts of the call that may change its price, such as ``service_tier``.
            at: Time in seconds since 1970.

        Returns:
            The card, the start and end of its validity in seconds since 1970, and the keys of ``context`` that a price
            depends on.
        """
        model = match.model
        moment = datetime.fromtimestamp(at, UTC)
        prices = model.get_prices(moment, context if match.own else None)
        consumed = {
            key
            for variant in (model.price_variants or () if match.own else ())
            if variant.constraint is None or variant.constraint.active(moment)
            if all(context.get(key) == value for key, value in variant.when.items())
            for key in variant.when
        }
        card = RateCard(
            model=model.id,
            source="catalog",
            version=self.version,
            rates=dict(self._rates(prices)) or self._free(match),
            units_by_field=self.fields,
            **_provider_quirks(match),
        )
        since, until = _price_window(model, moment)
        return card, since, until, frozenset(consumed)

    def _free(self, match: CatalogMatch) -> dict[Unit, Rates]:
        """Return zero prices if a model without prices is free; else nothing, because its prices are unknown."""
        model = match.model.id
        if model.endswith(":free") or (match.provider.id, model) in _FREE_MODELS:
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


def _provider_quirks(match: CatalogMatch) -> dict[str, Any]:
    """Return arguments of ``RateCard`` for billing rules of vendors that no price row expresses."""
    provider, name = match.provider.id, match.model.id
    quirks: dict[str, Any] = {}
    media = {field for word, field in _MEDIA_MODELS.items() if word in name and provider in _MEDIA_VENDORS}
    if provider == "google":
        quirks["omits_zeros"] = True
        # Google lists a price for a prompt modality only where it differs from that of text.
        media |= {"image_input", "audio_input", "video_input"}
        if name.startswith(("gemini-1", "gemini-2")):
            # Bill grounded prompts, not queries: Google does so up to Gemini 2.
            quirks["renamed"] = {"web_searches": "grounded_prompts"}
    elif provider == "groq" and name in ("whisper-large-v3", "whisper-large-v3-turbo"):
        quirks["min_audio_seconds"] = 10
    elif provider in ("openai", "azure") and "search-preview" in name:
        quirks["unreported_search"] = True
    if media:
        quirks["included"] = frozenset(media)
    return quirks


def _matches_exactly(clause: Any, name: str) -> bool:
    """Return true if ``clause`` of the catalog matches ``name`` and not merely a similar model.

    A clause may require only a prefix or a part of a name, which other models share: ``o4-mini`` is part of
    ``o4-mini-deep-research``, at half its price. The rest of the name must be dates, versions or ignored words.
    """
    alternatives = getattr(clause, "or_", None)
    if alternatives is not None:
        return any(_matches_exactly(item, name) for item in alternatives)
    if not clause.is_match(name):
        return False
    required = getattr(clause, "and_", None)
    fragments = [fragment for item in (required or [clause]) if (fragment := _fragment_of(item)) is not None]
    return not fragments or any(
        fragment.startswith("ft:") or _has_only_ignored_words(name.replace(fragment, " ", 1)) for fragment in fragments
    )


def _fragment_of(clause: Any) -> str | None:
    """Return the text of a clause that matches a part of a name; ``None`` for other clauses."""
    for kind in ("starts_with", "ends_with", "contains"):
        fragment = getattr(clause, kind, None)
        if isinstance(fragment, str):
            return fragment.lower()
    return None


def _has_only_ignored_words(rest: str) -> bool:
    return all(word in _IGNORED_WORDS or _VERSION.match(word) or word.startswith("ft") for word in _WORD.findall(rest))


def _constraints(model: Any) -> list[Any]:
    dated = model.prices if isinstance(model.prices, list) else []
    return [item.constraint for item in (*dated, *(model.price_variants or ())) if item.constraint is not None]


def _price_window(model: Any, moment: datetime) -> tuple[float, float]:
    """Return the start and end of the period at ``moment`` in which no price of ``model`` changes."""
    changes: list[datetime] = []
    for constraint in _constraints(model):
        if hasattr(constraint, "start_date"):
            changes.append(datetime.combine(constraint.start_date, time(), UTC))
        else:
            for clock in (constraint.start_time, constraint.end_time):
                zoned = clock if clock.tzinfo else clock.replace(tzinfo=UTC)
                for offset in (-2, -1, 0, 1, 2):
                    day = moment.date() + timedelta(days=offset)
                    changes.append(datetime.combine(day, zoned).astimezone(UTC))
    before = [change.timestamp() for change in changes if change <= moment]
    after = [change.timestamp() for change in changes if change > moment]
    return max(before, default=float("-inf")), min(after, default=float("inf"))
