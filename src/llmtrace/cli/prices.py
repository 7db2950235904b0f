"""``llmtrace prices``: prices of a model and their source."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from time import time
from typing import TextIO

import click

from .. import _settings
from .._decimal import CONTEXT
from ..model import Request, Response
from ..pricing.catalog import Catalog
from ..pricing.money import Amount, decimal
from ..pricing.price import Pricer
from ..pricing.rate_cards import RateCard, Unit
from ..report import formatting
from .terminal import echo, echo_error

__all__ = ["command", "run"]

_SEARCHED_PROVIDERS = (
    "openai", "anthropic", "gcp.gemini", "azure.ai.openai", "aws.bedrock", "mistral_ai", "groq", "deepseek", "x_ai",
    "cohere", "openrouter", "together_ai", "fireworks_ai", "cerebras", "perplexity", "moonshot_ai", "voyage_ai", "z_ai",
)  # fmt: skip
"""Providers to search for a model if none is named, vendors before resellers."""


_MAX_SHOWN = 3


def run(
    model: str | None = None, *, provider: str | None = None, prices: object = None, out: TextIO | None = None
) -> int:
    """Print the prices of ``model``, or without one an overview of the price table.

    The exit status is 2 if the model has no price.

    Args:
        model: Model name as in a request or a response.
        provider: OpenTelemetry's name of a provider; by default, up to three providers of the model are shown.
        prices: Overrides instead of those in ``LLMTRACE_PRICES``.
        out: Stream to write to; standard output by default.
    """
    out = out or sys.stdout
    try:
        pricer = Pricer(prices if prices is not None else _settings.load({}).prices)
    except _settings.ConfigError as error:
        echo_error(error)
        return 2
    catalog = pricer.load()
    if model is None:
        _overview(catalog, pricer, out)
        return 0
    shown = 0
    for place in (provider,) if provider else _SEARCHED_PROVIDERS:
        card = pricer.card(place, None, Request("chat", model), Response(model=model), time())
        if card is None or not card.rates:
            continue
        shown += 1
        _show(card, place, out)
        if shown == _MAX_SHOWN or card.version is None:
            break
    if not shown:
        where = f" at {provider}" if provider else ""
        echo(f"No price for {model!r}{where}. Add one to the file that LLMTRACE_PRICES names:", file=out)
        example = ("[[price]]", f'model = "{model}"', 'input = "2.50"     # USD per million tokens', 'output = "10.00"')
        for line in example:
            echo(f"  {line}", file=out)
        return 2
    return 0


def _overview(catalog: Catalog, pricer: Pricer, out: TextIO) -> None:
    providers = catalog.snapshot.providers
    models = sum(len(provider.models) for provider in providers)
    echo(f"Catalog     {catalog.version}: {models:,} models of {len(providers)} providers", file=out)
    newest = catalog.newest(datetime.now(UTC).date())
    if newest is not None:
        days = (datetime.now(UTC).date() - newest).days
        echo(f"Age         newest price is from {newest}, {formatting.counted(days, 'day')} ago", file=out)
    if not pricer.overrides:
        echo("Overrides   none (LLMTRACE_PRICES is not set)", file=out)
    for number, override in enumerate(pricer.overrides, 1):
        effect = f"as {override.alias}" if override.alias else "own prices" if override.row else "listed prices"
        factor = "" if override.multiplier == 1 else f" x {float(override.multiplier):g}"
        where = f" at {override.provider}" if override.provider else ""
        echo(f"Override {number}  {override.model}{where}: {effect}{factor}", file=out)


def _show(card: RateCard, provider: str, out: TextIO) -> None:
    echo(f"{card.model}  ({provider})", file=out)
    echo(f"  from {card.version or 'an override'}{', with an override' if _changed(card) else ''}", file=out)
    for label, base, tiers in _lines(card):
        echo(f"  {label:<42} {_money(base):>14}", file=out)
        for start, price in tiers:
            echo(f"  {'  beyond ' + format(start, ',') + ' input tokens':<42} {_money(price):>14}", file=out)
    echo(file=out)


def _changed(card: RateCard) -> bool:
    return card.source == "override" and card.version is not None


def _lines(card: RateCard) -> Iterable[tuple[str, Amount, tuple[tuple[int, Amount], ...]]]:
    for unit, rates in card.rates.items():
        count, label = _price_label(unit)
        yield label, rates.base * count, tuple((start, price * count) for start, price in rates.tiers)


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


@click.command("prices")
@click.argument("model", required=False)
@click.option("--provider", help="OpenTelemetry's name of the provider, such as azure.ai.openai.")
@click.pass_context
def command(ctx: click.Context, model: str | None, provider: str | None) -> None:
    """Show the prices of MODEL and their source; without MODEL, version and age of the price table."""
    ctx.exit(run(model, provider=provider))
