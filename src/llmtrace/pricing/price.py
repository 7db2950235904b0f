"""The price of a call: its name resolved, its rate card found once and kept, its usage multiplied out."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from time import time

from .._decimal import own_context
from ..model import BILLED_OPERATIONS, Request, Response
from .catalog import Catalog, CatalogMatch, current, loaded
from .money import UNIT, Amount, CostLabel, PricedCall, as_integer
from .overrides import Override, read
from .rate_cards import CLASSES, RateCard, Rates

__all__ = ["Pricer", "max_output_tokens"]

_MAX_ENTRIES = 2048
"""Cards kept, misses counted: a gateway that makes up a model name for every call must not fill the memory."""
_WORDLESS = frozenset({"embeddings", "rerank", "moderation"})
"""Answered without a token."""
_NO_ANSWER = Response()
_CATALOG_MAX_AGE_SECONDS = 3600.0
"""Seconds after which a card is looked up again."""
_PLAIN = frozenset({"", "default", "standard", "auto", "global", "not_available", "none", "normal", "on_demand"})
"""Values of a price context that mean the price as listed."""
_TIERS = {
    "on_demand": "default",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "service_tier_flex": "flex",
    "service_tier_priority": "priority",
}
_ROUTERS = (("azure.", "model-router"), ("aws.bedrock", "prompt-router"))
"""How providers begin, and a part of the names of their routers, which cost extra beside the model that answers."""
_BILLED_AS_ASKED = frozenset({"aws.bedrock"})
"""Where the name asked for says the price: an answer of Bedrock leaves out the area, and areas differ in price."""


class _Entry:
    """A card and the stretch of time it holds for; no card where there is no price."""

    __slots__ = ("approximate", "card", "missing", "since", "until")

    def __init__(
        self, card: RateCard | None, since: float, until: float, approximate: bool, missing: tuple[str, ...] = ()
    ) -> None:
        self.card = card
        self.since = since
        self.until = until
        self.approximate = approximate
        self.missing = missing
        """What every call is billed for that no price list has."""


class Pricer:
    """Prices calls. Nothing is imported before ``load``, which takes about a second and may be called on any thread."""

    def __init__(self, prices: object = None, setting: str = "LLMTRACE_PRICES") -> None:
        """Read the overrides: a path, or a list of mappings; ``setting`` names them in an error.

        Raises:
            ConfigError: An override is wrong.
        """
        self.overrides: tuple[Override, ...] = read(prices, setting)
        self._catalog: Catalog | None = None
        self._entries: dict[tuple[object, ...], _Entry] = {}

    @property
    def ready(self) -> bool:
        """Whether ``price`` can be called without waiting for the catalogue."""
        if self._catalog is None:
            self._catalog = loaded()
        return self._catalog is not None

    def load(self) -> Catalog:
        """Import the catalogue, once."""
        self._catalog = catalog = current()
        return catalog

    def context_window(self, provider: str, model: str) -> int | None:
        """How many tokens a request to a model may have, as far as the catalogue knows."""
        found = self.load().find(provider, model)
        size = None if found is None else found.model.context_window
        return size if isinstance(size, int) else None

    def price(
        self,
        provider: str,
        host: str | None,
        request: Request,
        answer: Response,
        at: float | None = None,
        *,
        partial: bool = False,
    ) -> PricedCall | None:
        """What a call cost; ``None`` where its kind bills nothing.

        Args:
            provider: OpenTelemetry's name of the provider.
            host: The server that was asked, if known.
            request: What was asked.
            answer: What came back.
            at: When, in seconds since 1970; now by default.
            partial: The answer was cut short, and its counts are only those of its beginning.
        """
        if request.operation not in BILLED_OPERATIONS and not (request.operation == "fetch_response" and answer.usage):
            return None
        stated = answer.stated_cost
        if stated is not None:
            priced = _stated(stated, answer.model or request.model)
            # Servers begin a stream with a cost of zero, and end it with the real one.
            if priced is not None and (priced.units or not partial):
                return priced
        counts = answer.usage
        if at is None:
            at = time()
        if not counts:
            return self._unused(provider, host, request, answer, at)
        entry = self._entry(provider, host, request, answer, at)
        if entry.card is None:
            return PricedCall(reason="unknown_model")
        if request.operation in _WORDLESS and "output" not in counts:
            counts = {**counts, "output": 0}
        priced = entry.card.price(counts, approximate=entry.approximate)
        if answer.additional_usage:
            priced = self._add_other_models(priced, provider, host, request, answer, at)
        elif request.operation == "chat" and counts.get("images"):
            priced = priced.without("images")  # drawn by a tool, whose tokens nobody told
        for name in (*entry.missing, *answer.unmapped_counts):
            priced = priced.without(name)
        if partial and priced.reason is None:
            priced.reason = "partial_usage"
        return priced

    def _unused(self, provider: str, host: str | None, request: Request, answer: Response, at: float) -> PricedCall:
        """What a call costs whose usage was not told: nothing is known, but of a model that is free."""
        entry = self._entry(provider, host, request, answer, at)
        if entry.card is None or not entry.card.free:
            return PricedCall(reason="no_usage")
        return PricedCall(0, entry.card.label, approximate=entry.approximate)

    def _add_other_models(
        self, priced: PricedCall, provider: str, host: str | None, request: Request, answer: Response, at: float
    ) -> PricedCall:
        """``priced``, and what other models did for the same call by the prices of those."""
        for model, counts in answer.additional_usage:
            asked = Request(request.operation, model or request.model, service_tier=request.service_tier)
            told = replace(
                answer,
                model=model or answer.model,
                usage=counts,
                stated_cost=None,
                additional_usage=(),
                unmapped_counts=(),
            )
            other = self.price(provider, host, asked, told, at)
            if other is None or other.reason is not None:
                priced = priced.without(model or request.model or "")
            else:
                priced = priced.add(other)
        return priced

    def max_cost(self, provider: str, host: str | None, request: Request) -> Amount:
        """What the answer to ``request`` may cost at most by the limit it states; 0 where it states none."""
        tokens = max_output_tokens(request)
        if not tokens or request.operation not in BILLED_OPERATIONS:
            return 0
        card = self._entry(provider, host, request, _NO_ANSWER, time()).card
        return 0 if card is None else card.request + card.highest_output_rate * tokens

    def card(self, provider: str, host: str | None, request: Request, answer: Response, at: float) -> RateCard | None:
        """The rate card a call is priced by."""
        with own_context():
            return self._find(self.load(), provider, host, request, answer, at).card

    def _entry(self, provider: str, host: str | None, request: Request, answer: Response, at: float) -> _Entry:
        tier, context = answer.service_tier, answer.price_context
        key: tuple[object, ...] = (provider, host, answer.model, request.model, tier, request.service_tier)
        if context:
            key = (*key, *sorted(context.items()))
        entry = self._entries.get(key)
        if entry is not None and entry.since <= at < entry.until:
            return entry
        if self._catalog is None or not self._catalog.fresh:
            self.load()
            self._entries = {}
        catalog = self._catalog or self.load()
        with own_context():
            entry = self._find(catalog, provider, host, request, answer, at)
        entry.until = min(entry.until, at + _CATALOG_MAX_AGE_SECONDS)
        if len(self._entries) >= _MAX_ENTRIES:
            self._entries.clear()
        self._entries[key] = entry
        return entry

    def _find(
        self, catalog: Catalog, provider: str, host: str | None, request: Request, answer: Response, at: float
    ) -> _Entry:
        context = _context(request, answer)
        names = [name for name in (answer.model, request.model) if name]
        if provider in _BILLED_AS_ASKED:
            names.reverse()
        override = self._override(provider, names, {**context, "host": host or ""})
        if override is not None and override.row:
            card = _own_card(catalog, override, names[0])
            return _Entry(card, -math.inf, math.inf, _unpriced(context, override.when))
        name, found = names[0] if names else "", None
        if override is not None and override.alias:
            found = catalog.find(provider, override.alias) or catalog.find_anywhere(override.alias)
        else:
            for name in names:
                found = catalog.find(provider, name)
                if found is not None:
                    break
        if found is None:
            return _Entry(None, -math.inf, math.inf, False)
        card, since, until, consumed = catalog.card(found, context, at)
        if card.free and answer.model and name == request.model != answer.model:
            # What was asked for is free; what a router answered with instead need not be.
            return _Entry(None, -math.inf, math.inf, False)
        if override is not None:
            consumed = consumed.union(override.when)
            card = _discounted(card, override.multiplier)
            doubtful = False
        else:
            billed = request.model if provider in _BILLED_AS_ASKED else answer.model
            doubtful = _other(provider, name, billed) or _is_other_region(provider, host, name, found)
        if answer.service_tier is None and context.get("service_tier", "default") != "default":
            doubtful = True  # asked for, but whether it was granted nobody said
        missing = () if override is not None else _surcharges(provider, request.model)
        return _Entry(card, since, until, doubtful or _unpriced(context, consumed), missing)

    def _override(self, provider: str, names: list[str], context: Mapping[str, str]) -> Override | None:
        for override in self.overrides:
            if any(override.fits(provider, name, context) for name in names):
                return override
        return None


def max_output_tokens(request: Request) -> int:
    """The tokens that the answer may have at most, by the limit that the request states; 0 where it states none."""
    limit, choices = request.params.get("max_tokens"), request.params.get("choice.count", 1)
    if type(limit) is not int or limit <= 0:
        return 0
    return limit * choices if type(choices) is int and choices > 0 else limit


def _own_card(catalog: Catalog, override: Override, name: str) -> RateCard:
    return RateCard(
        model=name,
        source="override",
        version=None,
        rates={catalog.units[unit]: Rates(price) for unit, price in override.row.items()},
        known=catalog.fields,
        included=frozenset(CLASSES),  # what a row leaves out costs what the total costs, as it is documented
    )


def _context(request: Request, answer: Response) -> dict[str, str]:
    """What besides the usage decides the price: what the answer says, and only where it is silent, what was asked."""
    context = {key: value.lower() for key, value in answer.price_context.items()}
    tier = answer.service_tier
    if tier is None:
        tier = request.service_tier
    if tier is not None:
        tier = _TIERS.get(tier.lower(), tier.lower())
        if tier == "batch":
            context.setdefault("processing", "batch")
        elif tier != "auto":
            context["service_tier"] = tier
    return context


def _unpriced(context: Mapping[str, str], consumed: Container[str]) -> bool:
    """Whether some of ``context`` may change the price, but changed nothing."""
    return any(value not in _PLAIN and key not in consumed for key, value in context.items())


def _surcharges(provider: str, name: str | None) -> tuple[str, ...]:
    """Return what asking for ``name`` costs beside the model that answers."""
    asked = (name or "").lower()
    return tuple(router for seller, router in _ROUTERS if provider.startswith(seller) and router in asked)


def _other(provider: str, name: str, billed: str | None) -> bool:
    """Whether the answer may come from another model than the one priced.

    An answer that names none, as those with images or audio do, comes from the model asked for; but at Azure that is
    the name of a deployment, which may be any model's.
    """
    return provider.startswith("azure.") if billed is None else name != billed


def _is_other_region(provider: str, host: str | None, name: str, found: CatalogMatch) -> bool:
    """Whether the call went where other prices than those listed may hold."""
    if host is None:
        return False
    if provider == "openai":
        # Any server of the dialect, and the regional hosts, which cost more.
        return host != "api.openai.com"
    if provider == "gcp.vertex_ai" and found.model.id.startswith("claude"):
        return host.endswith("-aiplatform.googleapis.com")
    if provider == "aws.bedrock":
        return "global." in name and not found.model.id.startswith("global.")
    return False


def _discounted(card: RateCard, multiplier: Fraction) -> RateCard:
    rates = {unit: rates.times(multiplier) for unit, rates in card.rates.items()}
    return replace(card, source="override", rates=rates)


def _stated(cost: float | Decimal | Fraction, model: str | None) -> PricedCall | None:
    """A cost that the provider itself states."""
    if not isinstance(cost, (int, float, Decimal, Fraction)) or isinstance(cost, bool):
        return None
    if not math.isfinite(cost) or cost < 0:
        return None
    return PricedCall(as_integer(Fraction(str(cost)) * UNIT), CostLabel(model, "provider", None))
