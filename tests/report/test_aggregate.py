"""Every figure of the report equals the same figure computed independently from the spans."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.report.aggregate import Aggregate, costs, report
from llmtrace.report.calls import read
from llmtrace.report.select import QueryError, dimensions, parse_time, selection
from llmtrace.store.exporter import StoreExporter
from llmtrace.store.schema import connect
from llmtrace.store.span_codec import StoredSpan, record
from llmtrace.store.write import Writer
from recorded import load_cassettes
from traffic import DAY, START, traces


@pytest.fixture(scope="module")
def traffic() -> list[StoredSpan]:
    return [span for trace in traces(600, users=40) for span in trace]


@pytest.fixture(scope="module")
def store(traffic: list[StoredSpan], tmp_path_factory: pytest.TempPathFactory) -> Any:
    with closing(connect(tmp_path_factory.mktemp("store") / "s.db", write=True)) as connection:
        Writer(connection).write(traffic)
        yield connection


def independent(spans: Iterable[StoredSpan]) -> dict[str, Any]:
    """Compute the figures of a group from attributes, independently of the report."""
    calls = [span.attributes | {"seconds": (span.ended - span.started) / 1e9} for span in spans]

    def count(name: str) -> int:
        return sum(call.get(name) or 0 for call in calls)

    def percentile(values: Iterable[float], percent: int) -> float | None:
        ordered = sorted(values)
        return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1] if ordered else None

    costs = [Decimal(call["llmtrace.cost.exact"]) for call in calls if "llmtrace.cost.exact" in call]
    streams = [call for call in calls if "llmtrace.stream.end" in call]
    first, speeds = (
        [call[f"llmtrace.stream.{name}"] for call in streams if f"llmtrace.stream.{name}" in call]
        for name in ("time_to_first_token", "tokens_per_second")
    )
    tokens = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
    unpriced = [
        call
        for call in calls
        if "llmtrace.cost.exact" not in call
        and (
            any(name in call for name in tokens)
            or ("llmtrace.cost.unpriced_reason" in call and call["llmtrace.outcome"] != "error")
        )
    ]
    actual = {
        "calls": len(calls),
        "errors": sum(call["llmtrace.outcome"] == "error" for call in calls),
        "refusals": sum("content_filter" in call.get("gen_ai.response.finish_reasons", ()) for call in calls),
        "blocked": 0,
        "cancelled": sum(call["llmtrace.outcome"] == "cancelled" for call in calls),
        "input_tokens": count(tokens[0]),
        "output_tokens": count(tokens[1]),
        "cache_read_tokens": count("gen_ai.usage.cache_read.input_tokens"),
        "cache_write_tokens": count("gen_ai.usage.cache_write.input_tokens"),
        "reasoning_tokens": count("gen_ai.usage.reasoning.output_tokens"),
        "cost_usd": float(sum(costs)) if costs else None,
        "cost_per_call_usd": float(sum(costs) / len(costs)) if costs else None,
        "estimated_cost_usd": count("llmtrace.cost.estimated_usd") or None,
        "cache_hit_share": count("gen_ai.usage.cache_read.input_tokens") / count(tokens[0])
        if count(tokens[0])
        else None,
        "tokens_per_second_p50": percentile(speeds, 50),
        "streams": len(streams),
        "streams_cut": sum(call["llmtrace.stream.end"] != "exhausted" for call in streams),
        "estimated_share": sum("llmtrace.cost.estimated_usd" in call for call in calls) / len(calls),
        "unpriced_share": len(unpriced) / len(calls),
    }
    for percent in (50, 95, 99):
        actual[f"latency_p{percent}_seconds"] = percentile((call["seconds"] for call in calls), percent)
        actual[f"first_token_p{percent}_seconds"] = percentile(first, percent)
    return actual


def agree(actual: Aggregate, expected: dict[str, Any]) -> None:
    result = actual.as_dict()
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        # The store keeps times to the microsecond and speeds to a thousandth.
        near = 6e-4 if "per_second" in name else 2e-6 if "seconds" in name else 0
        assert result[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=near)), name


def is_call(span: StoredSpan) -> bool:
    return span.attributes["gen_ai.operation.name"] not in ("invoke_workflow", "retrieval")


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ((), lambda attrs, at: ()),
        (("feature",), lambda attrs, at: (attrs["llmtrace.feature"],)),
        (
            ("model", "version"),
            lambda attrs, at: (attrs["gen_ai.request.model"], attrs["gen_ai.prompt.version"]),
        ),
        (("user",), lambda attrs, at: (attrs["user.id"],)),
        (("tenant", "session"), lambda attrs, at: (attrs["llmtrace.tenant"], attrs["session.id"])),
        (
            ("tag.region", "provider"),
            lambda attrs, at: (attrs["llmtrace.tag.region"], attrs["gen_ai.provider.name"]),
        ),
        (("day",), lambda attrs, at: (f"{at:%Y-%m-%d}",)),
        (("hour",), lambda attrs, at: (f"{at:%Y-%m-%d %H}:00",)),
        (("month", "outcome"), lambda attrs, at: (f"{at:%Y-%m}", attrs["llmtrace.outcome"])),
        (("tag",), lambda attrs, at: (attrs["tag.tags"][0],)),
    ],
    ids=lambda value: ",".join(value) or "all" if isinstance(value, tuple) else "",
)
def test_report_figures_match_the_spans(store: Any, traffic: list[StoredSpan], by: Any, key: Any) -> None:
    """For every grouping, each figure of each group matches its spans."""
    groups: dict[Any, list[StoredSpan]] = defaultdict(list)
    for span in filter(is_call, traffic):
        groups[key(span.attributes, datetime.fromtimestamp(span.started // 10**9, UTC))].append(span)
    result = report(store, selection(), by)
    actual, total = dict(result.rows), result.total
    assert actual.keys() == groups.keys()
    for name, spans in groups.items():
        agree(actual[name], independent(spans))
    agree(total, independent(filter(is_call, traffic)))


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        (["feature=search"], lambda attrs: attrs["llmtrace.feature"] == "search"),
        (["feature!=search", "model=gpt-*"],
         lambda attrs: attrs["llmtrace.feature"] != "search" and attrs["gen_ai.request.model"].startswith("gpt-")),
        (["user=user-2"], lambda attrs: attrs["user.id"] == "user-2"),
        (["user!=user-2", "tag=beta"], lambda attrs: attrs["user.id"] != "user-2" and "beta" in attrs["tag.tags"]),
        (["tag.region=eu"], lambda attrs: attrs["llmtrace.tag.region"] == "eu"),
        (["error=429"], lambda attrs: attrs.get("error.type") == "429"),
        (["error="], lambda attrs: "error.type" not in attrs),
        (["user=nobody"], lambda attrs: False),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)  # fmt: skip
def test_conditions_select_matching_calls(store: Any, traffic: list[StoredSpan], where: list[str], holds: Any) -> None:
    """``--where`` supports equality, inequality, patterns, absence, users, tags and combinations."""
    actual = dict(report(store, selection(where=where), ()).rows)
    chosen = [span for span in traffic if is_call(span) and holds(span.attributes)]
    assert bool(actual) is bool(chosen)
    if chosen:
        agree(actual[()], independent(chosen))


def test_time_window_is_half_open(store: Any, traffic: list[StoredSpan]) -> None:
    """``--since`` is included, ``--until`` is not."""
    since, until = (datetime.fromtimestamp((START + days * DAY) // 10**9, UTC) for days in (2, 5))
    chosen = selection(since.isoformat(), until.isoformat(), ["feature=search"])
    spans = [
        span
        for span in filter(is_call, traffic)
        if since.timestamp() * 1e9 <= span.started < until.timestamp() * 1e9
        and span.attributes["llmtrace.feature"] == "search"
    ]
    agree(report(store, chosen, ()).total, independent(spans))
    first = min(span.started for span in spans) // 1000
    begun = datetime.fromtimestamp(first / 1e6, UTC).isoformat()
    assert report(store, selection(begun, until.isoformat(), ["feature=search"]), ()).total.calls == len(spans)
    assert report(store, selection(since.isoformat(), begun, ["feature=search"]), ()).rows == []


def test_call_with_several_tags_counts_once_in_the_total(tmp_path: Path, traffic: list[StoredSpan]) -> None:
    """The call is in the group of each of its tags."""
    spans = [replace(span, attributes={**span.attributes, "tag.tags": ["a", "b"]}) for span in traffic[:30]]
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write(spans)
        result = report(connection, selection(), ("tag", "feature"))
        one, total = dict(report(connection, selection(), ("tag",)).rows), result.total
    calls = [span for span in spans if is_call(span)]
    for tag in ("a", "b"):
        agree(one[tag,], independent(calls))
        assert sum(group.calls for key, group in result.rows if key[0] == tag) == len(calls)
    agree(total, independent(calls))


def test_costs_by_time_add_up_to_the_total(store: Any) -> None:
    """Costs by time equal those of the groups."""
    chosen = selection(where=["tag.region=eu"])
    expected = report(store, chosen, ("day", "feature")).rows
    assert costs(read(store, chosen), ("day", "feature")) == {key: each.cost for key, each in expected}


@pytest.mark.parametrize("by", [("session",), ("user", "model"), ("tag", "session"), ("day", "user")], ids=",".join)
def test_top_groups_are_the_first_of_all_groups(store: Any, by: tuple[str, ...]) -> None:
    """``top`` returns the first groups with unchanged figures, and counts the others."""
    every, few = report(store, selection(), by), report(store, selection(), by, top=5)
    assert few.hidden == len(every.rows) - 5 > 0
    assert [(key, group.as_dict()) for key, group in few.rows] == [
        (key, group.as_dict()) for key, group in every.rows[:5]
    ]
    assert few.total.as_dict() == every.total.as_dict()


def test_large_sums_are_exact(tmp_path: Path, traffic: list[StoredSpan]) -> None:
    """Sums may exceed 64 bits and the 53 bits of a float."""
    huge = [2**63 - 1, 2**62 + 1, 2**53 + 1, 7]
    spans = [
        replace(span, attributes={**span.attributes, "gen_ai.usage.input_tokens": tokens, "llmtrace.feature": feature})
        for feature in ("a", "b")
        for span, tokens in zip(filter(is_call, traffic), huge, strict=False)
    ]
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write(spans)
        result = report(connection, selection(), ("feature",))
    assert [group.input for _, group in result.rows] == [sum(huge)] * 2
    assert result.total.input == 2 * sum(huge)


@pytest.mark.parametrize("text", ["tomorrow", "-3d", "2026-13-01", "", "5", "9999999d"])
def test_invalid_time_raises_query_error(text: str) -> None:
    """The error names the value and the accepted forms."""
    with pytest.raises(QueryError, match="is not a valid time: use an age"):
        parse_time(text, datetime.now(UTC))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-01-31 10:30"),
        ("24h", "2026-01-30 12:00"),
        ("2w", "2026-01-17 12:00"),
        ("now", "2026-01-31 12:00"),
        ("today", "2026-01-31 00:00"),
        ("yesterday", "2026-01-30 00:00"),
        ("2026-01-05", "2026-01-05 00:00"),
        ("2026-01-05T10:00+02:00", "2026-01-05 08:00"),
    ],
)  # fmt: skip
def test_times_and_ages_are_parsed(text: str, expected: str) -> None:
    """Ages, names of days, dates, and times with a time zone are accepted."""
    actual = parse_time(text, datetime(2026, 1, 31, 12, tzinfo=UTC)).astimezone(UTC)
    assert f"{actual:%Y-%m-%d %H:%M}" == expected


@pytest.mark.parametrize("where", ["feature", "=x", "day=2026-01-01", "nothing=1", "tag.=1"])
def test_invalid_condition_raises_query_error(where: str) -> None:
    """The error names the accepted form."""
    with pytest.raises(QueryError, match=r"--where|dimension"):
        selection(where=[where])


def test_reversed_time_window_raises_query_error() -> None:
    """An empty window is refused too."""
    for since, until in (("1h", "2h"), ("today", "today")):
        with pytest.raises(QueryError, match=f"--since {since} is not before --until {until}"):
            selection(since, until)


def test_invalid_dimension_raises_query_error() -> None:
    """The error lists the valid dimensions."""
    with pytest.raises(QueryError, match=r"'colour' is not a valid dimension: use feature, model"):
        dimensions(["feature,colour"])


@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")
def test_report_on_recorded_exchanges_matches_their_usage(replay: Any, tmp_path: Path) -> None:
    """The report on recorded exchanges of the vendors' clients matches their spans."""
    path = Path(__file__).parents[1] / "providers" / "test_recorded.py"
    spec = importlib.util.spec_from_file_location("recorded_exchanges", path)
    assert spec is not None
    assert spec.loader is not None
    recorded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = recorded
    spec.loader.exec_module(recorded)
    exporter, memory = StoreExporter(tmp_path / "s.db"), InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    for each in (exporter, memory):
        provider.add_span_processor(SimpleSpanProcessor(each))
    recordings = load_cassettes()
    wanted = [*recorded.one_of_each_kind(recordings), *recorded.all_of_both(recordings)]
    llmtrace.instrument(tracer_provider=provider, strict=True)
    try:
        for cassette in wanted:
            recorded.call_sync(recorded.request_of(cassette, replay.url), False)
    finally:
        llmtrace.uninstrument()
        provider.shutdown()
    groups: dict[Any, list[StoredSpan]] = defaultdict(list)
    for span in map(record, memory.get_finished_spans()):
        groups[span.attributes["gen_ai.provider.name"], span.attributes.get("gen_ai.request.model")].append(span)
    assert len(groups) > 10
    with closing(connect(tmp_path / "s.db")) as store:
        actual = dict(report(store, selection(), ("provider", "request_model")).rows)
    assert actual.keys() == groups.keys()
    for name, spans in groups.items():
        agree(actual[name], independent(spans))
