"""What a running weft tells about itself: metrics with registered names, spans, and structured logs.

Nothing here is process-wide but the logging configuration: a component is handed a `Telemetry`, or `SILENT`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from weft.core.errors import Bug, Invalid

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class Metric(NamedTuple):
    """A name that dashboards rely on. Names follow Prometheus: unit last, `_total` on counters."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


KV_CALL_SECONDS: Final = Metric(
    "weft_kv_call_seconds", "histogram", "Duration of key-value calls.", ("namespace", "call")
)
KV_ITEMS: Final = Metric("weft_kv_items_total", "counter", "Items read and written.", ("namespace", "call"))
KV_BYTES: Final = Metric(
    "weft_kv_bytes_total", "counter", "Bytes of keys and values read and written.", ("namespace", "call")
)
KV_ERRORS: Final = Metric(
    "weft_kv_errors_total", "counter", "Calls that raised.", ("namespace", "call", "code")
)
KV_CACHE: Final = Metric("weft_kv_cache_total", "counter", "Look-ups in the cache.", ("namespace", "outcome"))
KV_SHADOW: Final = Metric(
    "weft_kv_shadow_total", "counter", "Calls of a shadow store, by what became of them.", ("outcome",)
)
KV_HEDGES: Final = Metric("weft_kv_hedges_total", "counter", "Reads sent again, by who won.", ("winner",))
KV_RECLAIMED: Final = Metric("weft_kv_reclaimed_total", "counter", "Expired items and tombstones reclaimed.")

AUTHZ_CHECK_SECONDS: Final = Metric(
    "weft_authz_check_seconds", "histogram", "Duration of checks.", ("outcome",)
)
AUTHZ_WRITES: Final = Metric("weft_authz_writes_total", "counter", "Relation tuples written.", ("operation",))
AUTHZ_MIRROR_BYTES: Final = Metric("weft_authz_mirror_bytes", "gauge", "Memory that the mirror takes, about.")
AUTHZ_MIRROR_EVENTS: Final = Metric(
    "weft_authz_mirror_events_total", "counter", "Mirrors loaded, lost, over budget and failed.", ("event",)
)
AUTHZ_LEFT: Final = Metric("weft_authz_left_total", "counter", "Checks that compiled plans did not decide.")
AUTHZ_CACHE: Final = Metric(
    "weft_authz_cache_total", "counter", "Look-ups of results of checks.", ("outcome",)
)
AUTHZ_FLIGHTS: Final = Metric(
    "weft_authz_flights_total", "counter", "Work that others might share, by what became of it.", ("outcome",)
)
AUTHZ_HOT: Final = Metric(
    "weft_authz_hot_total", "counter", "Hot sets fetched, and reads served from them.", ("outcome",)
)

SANDBOX_QUEUE_SECONDS: Final = Metric(
    "weft_sandbox_queue_seconds", "histogram", "How long a request waited for its sandbox.", ("priority",)
)
SANDBOX_START_SECONDS: Final = Metric(
    "weft_sandbox_start_seconds", "histogram", "How long a sandbox took to open or to reset.", ("how",)
)
SANDBOXES: Final = Metric("weft_sandboxes", "gauge", "Sandboxes that are alive, idle, leased.", ("state",))
SANDBOX_RECYCLED: Final = Metric("weft_sandbox_recycled_total", "counter", "Resets that were proved.")
SANDBOX_FAILED: Final = Metric(
    "weft_sandbox_failed_total", "counter", "Sandboxes that did not open, did not reset, or broke."
)
SANDBOX_LEAKED: Final = Metric(
    "weft_sandbox_leaked_total", "counter", "Leases that were taken back, since nobody gave them back."
)

METRICS: Final[tuple[Metric, ...]] = tuple(value for value in vars().values() if isinstance(value, Metric))


class Recorder(Protocol):
    """What components need of telemetry. Labels are exactly those that the metric declares."""

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add one observation to a histogram, or set a gauge."""

    def span(
        self, name: str, **attributes: str | int | float | bool
    ) -> contextlib.AbstractContextManager[None]:
        """Mark a stretch of work for a trace."""


class Silent:
    """Records nothing."""

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        pass

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        pass

    def span(
        self, name: str, **attributes: str | int | float | bool
    ) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


SILENT: Final[Recorder] = Silent()


class Telemetry:
    """Records to a Prometheus registry of its own, and to an OpenTelemetry tracer when it is given one."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        import prometheus_client as prometheus

        kinds = {
            "counter": prometheus.Counter,
            "gauge": prometheus.Gauge,
            "histogram": prometheus.Histogram,
        }
        self._tracer = tracer
        self._registry = prometheus.CollectorRegistry()
        self._collectors: dict[Metric, Any] = {
            metric: kinds[metric.kind](metric.name, metric.help, metric.labels, registry=self._registry)
            for metric in METRICS
        }

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        self._labelled(metric, labels).inc(amount)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        collector = self._labelled(metric, labels)
        if metric.kind == "gauge":
            collector.set(value)
        else:
            collector.observe(value)

    @contextlib.contextmanager
    def span(self, name: str, **attributes: str | int | float | bool) -> Iterator[None]:
        if self._tracer is None:
            yield
            return
        with self._tracer.start_as_current_span(name, attributes=attributes):
            yield

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def _labelled(self, metric: Metric, labels: Mapping[str, str]) -> Any:
        collector = self._collectors.get(metric)
        if collector is None or labels.keys() != set(metric.labels):
            raise Bug(f"`{metric.name}` is not registered with labels {sorted(labels)}")
        return collector.labels(**labels) if labels else collector


def configure_logs(level: str = "info", style: Literal["text", "json"] = "text") -> None:
    """Send structured logs to standard error: key=value text for people, or a JSON object per line."""
    import structlog

    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise Invalid(f"`{level}` is no log level", hint="use debug, info, warning or error")
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


@functools.cache
def logger(name: str) -> Any:
    """A structured logger; what it prints follows `configure_logs`."""
    import structlog

    return structlog.get_logger(component=name)
