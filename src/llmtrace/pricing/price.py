"""Prices of calls: looks up the rate card of the model, caches it, and multiplies it with the usage."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from time import time

from .._decimal import own_context
from ..model import BILLED_OPERATIONS, Request, Response
from .catalog import Catalog, CatalogMatch, current, loaded
from .money import UNIT, Amount, CostLabel, PricedCall, as_integer
from .overrides import Override, read
from .rate_cards import CLASSES, RateCard, Rates

_MAX_ENTRIES = 2048
"""Maximum number of cached cards, misses included: a gateway may invent a model name for every call."""
_WITHOUT_OUTPUT_TOKENS = frozenset({"embeddings", "rerank", "moderation"})
"""Operations whose responses have no output tokens."""
_NO_RESPONSE = Response()
_CATALOG_MAX_AGE_SECONDS = 3600.0
"""Seconds for which a card is cached."""
_LIST_PRICE_VALUES = frozenset(
    {"", "default", "standard", "auto", "global", "not_available", "none", "normal", "on_demand"}
)
"""Values of a price context that mean the list price."""
_TIERS = {
    "on_demand": "default",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "service_tier_flex": "flex",
    "service_tier_priority": "priority",
}
"""Catalog names of service tiers by the names that vendors report, where they differ."""
_ROUTERS = (("azure.", "model-router"), ("aws.bedrock", "prompt-router"))
"""Prefixes of providers, and parts of the names of their routers, which cost extra on top of the model."""
_PRICED_BY_REQUEST_MODEL = frozenset({"aws.bedrock"})
"""Providers priced by the request's model: responses of Bedrock omit the region, and regions differ in price."""


_PROVISIONED = (":provisioned-model/", ":imported-model/")
"""Parts of the ARNs of models on Bedrock that are billed by time."""
_NOT_US = re.compile(r"\.(?!us-)[a-z]{2}-(?:gov-)?[a-z]+-\d\.|/(?:eu|apac|ap|jp|au|ca|in|sa|uk)\.")
"""Host of a region outside of the United States, or prefix of an inference profile of such regions."""


@dataclass(slots=True)
class _Entry:
    """A cached card and the period of its validity; no card if the model has no price."""

    card: RateCard | None
    since: float = -math.inf
    until: float = math.inf
    approximate: bool = False
    missing: tuple[str, ...] = ()
    """Names of surcharges that every call is billed and that have no price."""
    reason: str = "unknown_model"
    """Reason why there is no card."""


class Pricer:
    """Calculator of prices. It imports the catalog in ``load``, which takes about a second, on any thread."""

    def __init__(self, prices: object = None, setting: str = "LLMTRACE_PRICES") -> None:
        """Read the overrides.

        Args:
            prices: Path of a TOML or JSON file, or a list of mappings.
            setting: Name of the setting, for error messages.

        Raises:
            ConfigError: An override is not valid.
        """
        self.overrides: tuple[Override, ...] = read(prices, setting)
        self._catalog: Catalog | None = None
        self._entries: dict[tuple[object, ...], _Entry] = {}

    @property
    def ready(self) -> bool:
        """True if the catalog is loaded, so that ``price`` does not wait for it."""
        if self._catalog is None:
            self._catalog = loaded()
        return self._catalog is not None

    def load(self) -> Catalog:
        """Import the catalog, unless it is current, and return it."""
        self._catalog = catalog = current()
        return catalog

    def context_window(self, provider: str, model: str) -> int | None:
        """Return the context window of a model in tokens; ``None`` if the catalog does not have it."""
        match = self.load().find(provider, model)
        size = None if match is None else match.model.context_window
        return size if isinstance(size, int) else None

    def price(
        self,
        provider: str,
        host: str | None,
        request: Request,
        response: Response,
        at: float | None = None,
        *,
        partial: bool = False,
    ) -> PricedCall | None:
        """Return the cost of a call, or the reason why it is unknown; ``None`` if such operations are not billed.

        ``provider`` is OpenTelemetry's name, and ``at`` the time of the call in seconds since 1970, by default now. The
        usage of a ``partial`` response, which was cut, is incomplete.
        """
        if not _is_billed(request, response):
            return None
        if response.stated_cost is not None:
            priced = _stated(request, response)
            # Ignore a zero cost in a cut stream: servers send zero at its start and the real cost at its end.
            if priced is not None and (priced.units or not partial):
                return priced
        counts = response.usage
        if at is None:
            at = time()
        if not counts:
            return self._price_without_usage(provider, host, request, response, at)
        entry = self._entry(provider, host, request, response, at)
        if entry.card is None:
            return PricedCall(reason=entry.reason)
        if request.operation in _WITHOUT_OUTPUT_TOKENS and "output" not in counts:
            counts = {**counts, "output": 0}
        priced = entry.card.price(counts, approximate=entry.approximate)
        if response.additional_usage:
            priced = self._add_other_models(priced, provider, host, request, response, at)
        elif request.operation == "chat" and counts.get("images"):
            priced = priced.without("images")  # A tool generated them, and its tokens are not reported.
        for name in (*entry.missing, *response.unmapped_counts):
            priced = priced.without(name)
        if partial and priced.reason is None:
            priced.reason = "partial_usage"
        return priced

    def price_without_catalog(self, request: Request, response: Response) -> PricedCall | None:
        """Return the cost that the response states, or ``prices_not_loaded`` as the reason for its absence.

        The result is ``None`` if operations of this kind are not billed.
        """
        if not _is_billed(request, response):
            return None
        stated = _stated(request, response)
        return PricedCall(reason="prices_not_loaded") if stated is None or not stated.units else stated

    def _price_without_usage(
        self, provider: str, host: str | None, request: Request, response: Response, at: float
    ) -> PricedCall:
        """Return the cost of a call without reported usage: unknown, or zero if the model is free."""
        entry = self._entry(provider, host, request, response, at)
        if entry.card is None or not entry.card.free:
            return PricedCall(reason="no_usage")
        return PricedCall(0, entry.card.label, approximate=entry.approximate)

    def _add_other_models(
        self, priced: PricedCall, provider: str, host: str | None, request: Request, response: Response, at: float
    ) -> PricedCall:
        """Add the usage of other models in the same call, at their prices."""
        for model, counts in response.additional_usage:
            other_request = Request(request.operation, model or request.model, service_tier=request.service_tier)
            other_response = replace(
                response,
                model=model or response.model,
                usage=counts,
                stated_cost=None,
                additional_usage=(),
                unmapped_counts=(),
            )
            other_price = self.price(provider, host, other_request, other_response, at)
            if other_price is None or other_price.reason is not None:
                priced = priced.without(model or request.model or "")
            else:
                priced = priced.add(other_price)
        return priced

    def max_cost(self, provider: str, host: str | None, request: Request) -> Amount:
        """Return the maximum cost of the response, by the output token limit of the request; 0 without a limit."""
        tokens = max_output_tokens(request)
        if not tokens or request.operation not in BILLED_OPERATIONS:
            return 0
        card = self._entry(provider, host, request, _NO_RESPONSE, time()).card
        return 0 if card is None else card.request + card.highest_output_rate * tokens

    def card(self, provider: str, host: str | None, request: Request, response: Response, at: float) -> RateCard | None:
        """Return the rate card that a call is priced with, or ``None`` if the model has no price."""
        with own_context():
            return self._find(self.load(), provider, host, request, response, at).card

    def _entry(self, provider: str, host: str | None, request: Request, response: Response, at: float) -> _Entry:
        tier, context = response.service_tier, response.price_context
        key: tuple[object, ...] = (provider, host, response.model, request.model, tier, request.service_tier)
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
            entry = self._find(catalog, provider, host, request, response, at)
        entry.until = min(entry.until, at + _CATALOG_MAX_AGE_SECONDS)
        if len(self._entries) >= _MAX_ENTRIES:
            self._entries.clear()
        self._entries[key] = entry
        return entry

    def _find(
        self, catalog: Catalog, provider: str, host: str | None, request: Request, response: Response, at: float
    ) -> _Entry:
        context = _context(request, response)
        names = [name for name in (response.model, request.model) if name]
        if provider in _PRICED_BY_REQUEST_MODEL:
            names.reverse()
        override = self._override(provider, names, {**context, "host": host or ""})
        if override is not None and override.row:
            card = _override_card(catalog, override, names[0])
            return _Entry(card, approximate=_has_unpriced_context(context, override.when))
        if override is None and provider == "aws.bedrock" and _is_provisioned(request.model, context):
            return _Entry(None, reason="provisioned_capacity")
        name, match = names[0] if names else "", None
        if override is not None and override.alias:
            match = catalog.find(provider, override.alias) or catalog.find_anywhere(override.alias)
        else:
            for name in names:
                match = catalog.find(provider, name)
                if match is not None:
                    break
        if match is None:
            return _Entry(None)
        card, since, until, consumed = catalog.card(match, context, at)
        if card.free and response.model and name == request.model != response.model:
            # The requested model is free, but a router may have used another one, which is not.
            return _Entry(None)
        if override is not None:
            consumed = consumed.union(override.when)
            card = _discounted(card, override.multiplier)
            doubtful = False
        else:
            billed = request.model if provider in _PRICED_BY_REQUEST_MODEL else response.model
            doubtful = _may_be_other_model(provider, name, billed) or _may_have_other_prices(
                provider, host, name, match
            )
        if response.service_tier is None and context.get("service_tier", "default") != "default":
            doubtful = True  # The response does not confirm the requested tier.
        missing = () if override is not None else _surcharges(provider, request.model)
        return _Entry(card, since, until, doubtful or _has_unpriced_context(context, consumed), missing)

    def _override(self, provider: str, names: list[str], context: Mapping[str, str]) -> Override | None:
        for override in self.overrides:
            if any(override.matches(provider, name, context) for name in names):
                return override
        return None


def _is_billed(request: Request, response: Response) -> bool:
    if request.operation in BILLED_OPERATIONS:
        return True
    if request.operation != "fetch_response":
        return False
    if response.usage:
        return True
    # A fetch of a background object has no usage after another one has billed it. Other results are recorded once.
    return request.batch_id is not None and not response.background and response.status == "completed"


def max_output_tokens(request: Request) -> int:
    """Return the maximum number of output tokens over all choices, by the request's limit; 0 without a limit."""
    limit, choices = request.params.get("max_tokens"), request.params.get("choice.count", 1)
    if type(limit) is not int or limit <= 0:
        return 0
    return limit * choices if type(choices) is int and choices > 0 else limit


def _override_card(catalog: Catalog, override: Override, name: str) -> RateCard:
    return RateCard(
        model=name,
        source="override",
        version=None,
        rates={catalog.units[unit]: Rates(price) for unit, price in override.row.items()},
        units_by_field=catalog.fields,
        included=frozenset(CLASSES),  # Bill classes without a price as the total, as documented.
    )


def _context(request: Request, response: Response) -> dict[str, str]:
    """Return the parts of a call, other than usage, that affect its price.

    The service tier of the response wins over that of the request.
    """
    context = {key: value.lower() for key, value in response.price_context.items()}
    tier = response.service_tier
    if tier is None:
        tier = request.service_tier
    if tier is not None:
        tier = _TIERS.get(tier.lower(), tier.lower())
        if tier == "batch":
            context.setdefault("processing", "batch")
        elif tier != "auto":
            context["service_tier"] = tier
    return context


def _has_unpriced_context(context: Mapping[str, str], consumed: Container[str]) -> bool:
    """Return true if a part of ``context`` may change the price, but no price depends on it."""
    return any(value not in _LIST_PRICE_VALUES and key not in consumed for key, value in context.items())


def _surcharges(provider: str, name: str | None) -> tuple[str, ...]:
    """Return the routers that bill extra for a request to the model ``name``."""
    model = (name or "").lower()
    return tuple(router for prefix, router in _ROUTERS if provider.startswith(prefix) and router in model)


def _may_be_other_model(provider: str, name: str, billed: str | None) -> bool:
    """Return true if the response may come from another model than the priced one.

    Responses with images or audio contain no model: they come from the requested one. At Azure the requested name is
    that of a deployment, which may use any model.
    """
    return provider.startswith("azure.") if billed is None else name != billed


def _may_have_other_prices(provider: str, host: str | None, name: str, match: CatalogMatch) -> bool:
    """Return true if the listed prices may not apply to the called host or region."""
    if host is None:
        return False
    if provider == "openai":
        # Other servers with OpenAI's API have their own prices, and OpenAI's regional hosts cost more.
        return host != "api.openai.com"
    if provider == "gcp.vertex_ai" and match.model.id.startswith("claude"):
        return host.endswith("-aiplatform.googleapis.com")
    if provider == "aws.bedrock":
        # The catalog has a row for global profiles and one for regions, or else the price in the United States.
        if match.model.id.startswith(("global.", "regional.")):
            return "global." in name and not match.model.id.startswith("global.")
        return "global." in name or _NOT_US.search(f"{host}/{name.rpartition('/')[2]}") is not None
    return False


def _is_provisioned(name: str | None, context: Mapping[str, str]) -> bool:
    """Return true if Bedrock bills capacity by time instead of tokens."""
    return context.get("service_tier") == "reserved" or (
        name is not None and name.startswith("arn:") and any(kind in name for kind in _PROVISIONED)
    )


def _discounted(card: RateCard, multiplier: Fraction) -> RateCard:
    rates = {unit: rates.times(multiplier) for unit, rates in card.rates.items()}
    return replace(card, source="override", rates=rates)


def _stated(request: Request, response: Response) -> PricedCall | None:
    """Return the cost stated by the provider as a price; ``None`` if there is no valid amount."""
    cost = response.stated_cost
    if not isinstance(cost, (int, float, Decimal, Fraction)) or isinstance(cost, bool):
        return None
    if not math.isfinite(cost) or cost < 0:
        return None
    return PricedCall(
        as_integer(Fraction(str(cost)) * UNIT), CostLabel(response.model or request.model, "provider", None)
    )
