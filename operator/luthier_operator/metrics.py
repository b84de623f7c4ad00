"""What Prometheus scrapes of the operator itself. Its runs are in series.py."""

from prometheus_client import Counter, Gauge, Histogram

API_WRITES = Counter(
    "luthier_operator_api_writes", "Writing requests to the API server.", ["verb", "resource"]
)
QUEUE_DEPTH = Gauge("luthier_operator_queue_depth", "Resources that wait for a worker.")
WORK_SECONDS = Histogram(
    "luthier_operator_work_duration_seconds",
    "Duration of one reconciliation.",
    ["kind"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
RECONCILES = Counter(
    "luthier_operator_reconciles", "Reconciliations by result.", ["kind", "result"]
)
WATCH_EVENTS = Counter("luthier_operator_watch_events", "Events of the watches.", ["resource"])
WATCH_UP = Gauge(
    "luthier_operator_watch_up",
    "1 while a resource is watched in a namespace, or in all of them (empty); 0 while it can't be.",
    ["resource", "namespace"],
)
WATCH_LISTS = Counter(
    "luthier_operator_watch_lists", "Lists that watches started from.", ["resource"]
)
REPORTS = Counter(
    "luthier_operator_progress_reports", "Progress reports by the answer's code.", ["code"]
)
LEADER = Gauge("luthier_operator_leader", "1 for the replica that leads.")
USAGE_SAVED = Gauge(
    "luthier_operator_usage_saved_timestamp_seconds",
    "When the ledger was last read or written, by the replica that leads.",
)
