"""``llmtrace prices``: prices of a model and their source."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time

import click

from .. import _settings
from .._decimal import CONTEXT
from ..model import Request, Response
from ..pricing.catalog import Catalog
from ..pricing.money import Amount, decimal
from ..pricing.price import Pricer
from ..pricing.rate_cards import RateCard, Unit
from ..report import formatting
from .terminal import echo

_SEARCHED_PROVIDERS = (
    "openai", "anthropic", "gcp.gemini", "azure.ai.openai", "aws.bedrock", "mistral_ai", "groq", "deepseek", "x_ai",
    "cohere", "openrouter", "together_ai", "fireworks_ai", "cerebras", "perplexity", "moonshot_ai", "voyage_ai", "z_ai",
)  # fmt: skip
"""Providers to search for a model if none is named, vendors before resellers."""


_MAX_SHOWN = 3


@click.command("prices")
@click.argument("model", required=False)
@click.option("--provider", help="OpenTelemetry's name of the provider, such as azure.ai.openai.")
def command(model: str | None, provider: str | None) -> int:
    """Show the prices of MODEL and their source; without MODEL, version and age of the price table."""
    pricer = Pricer(_settings.load({}).prices)
    catalog = pricer.load()
    if model is None:
        _overview(catalog, pricer)
        return 0
    shown = 0
    for place in (provider,) if provider else _SEARCHED_PROVIDERS:
        card = pricer.card(place, None, Request("chat", model), Response(model=model), time())
        if card is None or not card.rates:
            continue
        shown += 1
        _show(card, place)
        if shown == _MAX_SHOWN or card.version is None:
            break
    if not shown:
        where = f" at {provider}" if provider else ""
        echo(f"No price for {model!r}{where}. Add one to the file that LLMTRACE_PRICES names:")
        example = ("[[price]]", f'model = "{model}"', 'input = "2.50"     # USD per million tokens', 'output = "10.00"')
        for line in example:
            echo(f"  {line}")
        return 2
    return 0


def _overview(catalog: Catalog, pricer: Pricer) -> None:
    providers = catalog.snapshot.providers
    models = sum(len(provider.models) for provider in providers)
    echo(f"Catalog     {catalog.version}: {models:,} models of {len(providers)} providers")
    newest = catalog.newest(datetime.now(UTC).date())
    if newest is not None:
        days = (datetime.now(UTC).date() - newest).days
        echo(f"Age         newest price is from {newest}, {formatting.counted(days, 'day')} ago")
    if not pricer.overrides:
        echo("Overrides   none (LLMTRACE_PRICES is not set)")
    for number, override in enumerate(pricer.overrides, 1):
        effect = f"as {override.alias}" if override.alias else "own prices" if override.row else "listed prices"
        factor = "" if override.multiplier == 1 else f" x {float(override.multiplier):g}"
        where = f" at {override.provider}" if override.provider else ""
        echo(f"Override {number}  {override.model}{where}: {effect}{factor}")


def _show(card: RateCard, provider: str) -> None:
    echo(f"{card.model}  ({provider})")
    changed = ", with an override" if card.source == "override" and card.version is not None else ""
    echo(f"  from {card.version or 'an override'}{changed}")
    for unit, rates in card.rates.items():
        count, label = _price_label(unit)
        echo(f"  {label:<42} {_money(rates.base * count):>14}")
        for start, price in rates.tiers:
            echo(f"  {'  beyond ' + format(start, ',') + ' input tokens':<42} {_money(price * count):>14}")
    echo()


def _price_label(unit: Unit) -> tuple[int, str]:
    """Return the number of units that a price is shown for, and the label of that price."""
    name = unit.name.removesuffix("_tokens").replace("_", " ")
    match unit.dimensions.get("family"):
        case "tokens":
            return 1_000_000, f"{name}, per million tokens"
        case "durations":
            return 3_600, f"{name.removesuffix(' seconds')}, per hour"
        case "characters":
            return 1_000_000, f"{name}, per million"
        case "requests":
            return 1, "each request"
    return 1_000, f"{name}, per thousand"


def _money(amount: Amount) -> str:
    return f"{CONTEXT.normalize(decimal(amount)):f} USD"
