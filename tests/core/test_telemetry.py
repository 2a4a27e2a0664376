import json

import pytest

from weft.core import telemetry
from weft.core.errors import Bug, Invalid
from weft.core.telemetry import KV_CALL_SECONDS, KV_ITEMS, METRICS, SILENT, Metric, Telemetry


def test_names_follow_the_convention_and_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("weft_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")


def test_what_is_recorded_is_exposed() -> None:
    recorder = Telemetry()
    recorder.count(KV_ITEMS, 3, namespace="a", call="put")
    recorder.observe(KV_CALL_SECONDS, 0.5, namespace="a", call="put")
    text = recorder.exposition().decode()
    assert 'weft_kv_items_total{call="put",namespace="a"} 3.0' in text
    assert 'weft_kv_call_seconds_sum{call="put",namespace="a"} 0.5' in text


def test_two_recorders_share_nothing() -> None:
    first, second = Telemetry(), Telemetry()
    first.count(KV_ITEMS, namespace="a", call="put")
    assert 'call="put"' not in second.exposition().decode()


def test_unregistered_names_and_wrong_labels_are_bugs() -> None:
    with pytest.raises(Bug):
        Telemetry().count(Metric("weft_typo_total", "counter", ""))
    with pytest.raises(Bug):
        Telemetry().count(KV_ITEMS, namespace="a")


def test_spans_do_not_swallow_errors() -> None:
    for recorder in (SILENT, Telemetry()):
        with pytest.raises(ZeroDivisionError), recorder.span("work", size=1):
            _ = 1 / 0


def test_spans_reach_an_opentelemetry_tracer() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with Telemetry(provider.get_tracer("weft")).span("hop", size=2):
        pass
    (span,) = exporter.get_finished_spans()
    assert (span.name, dict(span.attributes or {})) == ("hop", {"size": 2})


def test_logs_are_json_lines_at_the_level_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    try:
        telemetry.configure_logs("warning", "json")
        log = structlog.get_logger()
        log.info("hidden")
        log.warning("shown", size=1)
        line = json.loads(capsys.readouterr().err)
        assert (line["event"], line["level"], line["size"]) == ("shown", "warning", 1)
    finally:
        structlog.reset_defaults()
    with pytest.raises(Invalid, match="`loud` is no log level"):
        telemetry.configure_logs("loud")
