"""Writes charts/luthier/files/dashboards/*.json: `python scripts/dashboards.py [FOLDER]`.

`make verify` fails when they aren't what this writes; tests/integration/test_dashboards.py asks a
real Prometheus each query.
"""

import json
import sys
from pathlib import Path

from grafana import Dashboard, Query, Variable, bars, graph, model, stat, table

FOLDER = Path(__file__).resolve().parent.parent / "charts/luthier/files/dashboards"

_PHASES = Query("sum by (phase) (luthier_run_state{OF})", "{{phase}}")
_NAMESPACES = Variable("namespace", "label_values(luthier_run_state, namespace)", several=True)

FLEET = Dashboard(
    "luthier-fleet",
    "Luthier: fleet",
    "All runs, what holds them back, and the operator.",
    (_NAMESPACES,),
    (
        (
            "Runs",
            (
                stat("Running", 'sum(luthier_run_state{OF,phase="Running"}) or vector(0)'),
                stat(
                    "Waiting",
                    'sum(luthier_run_state{OF,phase=~"Pending|Queued"}) or vector(0)',
                ),
                stat(
                    "Failed, within an hour",
                    'sum(luthier_run_state{OF,phase="Failed"}) or vector(0)',
                ),
                stat("Stalled", 'sum(luthier_run_state{OF,phase="Stalled"}) or vector(0)'),
                stat(
                    "Pod crashes, within an hour",
                    "sum(increase(luthier_run_restarts_failures_total{OF}[1h])) or vector(0)",
                ),
                stat("Learn by heart", "sum(luthier_run_overfitting{OF}) or vector(0)"),
                graph("Runs by phase", _PHASES, stacked=True, width=12),
                graph(
                    "Why runs wait, are stalled or failed",
                    Query("sum by (reason) (luthier_run_reason{OF})", "{{reason}}"),
                    stacked=True,
                    width=12,
                ),
                table(
                    "Progress",
                    "max by (namespace, kind, name, pool) (luthier_run_step{OF}"
                    " / luthier_run_total_steps{OF})",
                    text="Share of the steps that are done.",
                ),
            ),
        ),
        (
            "What they use",
            (
                graph(
                    "GPUs held, by pool",
                    Query(
                        "sum by (pool) (rate(luthier_usage_gpu_seconds_total{OF}[5m]))",
                        "{{pool}}",
                    ),
                    stacked=True,
                ),
                graph(
                    "CPUs held, by namespace",
                    Query(
                        "sum by (namespace) (rate(luthier_usage_cpu_seconds_total{OF}[5m]))",
                        "{{namespace}}",
                    ),
                    stacked=True,
                ),
                graph(
                    "Tokens a second, by pool",
                    Query("sum by (pool) (luthier_run_tokens_per_second{OF})", "{{pool}}"),
                    stacked=True,
                ),
                graph(
                    "GPUs busy",
                    Query("avg by (pool) (luthier_run_gpu_busy_ratio{OF})", "{{pool}}"),
                    unit="percentunit",
                ),
                graph(
                    "Time that training waits for data",
                    Query("avg by (namespace) (luthier_run_data_wait_ratio{OF})", "{{namespace}}"),
                    unit="percentunit",
                ),
                graph(
                    "Checkpoints uploaded",
                    Query(
                        "sum by (namespace) (rate(luthier_run_checkpoint_bytes_total{OF}[5m]))",
                        "{{namespace}}",
                    ),
                    unit="Bps",
                ),
            ),
        ),
        (
            "Operator",
            (
                stat("Replicas that lead", "sum(luthier_operator_leader)"),
                stat("Watches that are down", "sum(luthier_operator_watch_up == bool 0)"),
                stat(
                    "Ledger written",
                    "time() - max(luthier_operator_usage_saved_timestamp_seconds"
                    " and on (job, instance) luthier_operator_leader == 1)",
                    "s",
                ),
                graph("Queue", Query("luthier_operator_queue_depth", "{{instance}}"), width=12),
                graph(
                    "A look at a resource takes (95 %)",
                    Query(
                        "histogram_quantile(0.95, sum by (le, kind) "
                        "(rate(luthier_operator_work_duration_seconds_bucket[5m])))",
                        "{{kind}}",
                    ),
                    unit="s",
                ),
                graph(
                    "Looks, by result",
                    Query(
                        "sum by (result) (rate(luthier_operator_reconciles_total[5m]))",
                        "{{result}}",
                    ),
                    unit="ops",
                ),
                graph(
                    "Writes to the API server",
                    Query(
                        "sum by (verb, resource) (rate(luthier_operator_api_writes_total[5m]))",
                        "{{verb}} {{resource}}",
                    ),
                    unit="ops",
                ),
                graph(
                    "Reports, by answer",
                    Query(
                        "sum by (code) (rate(luthier_operator_progress_reports_total[5m]))",
                        "{{code}}",
                    ),
                    unit="ops",
                ),
            ),
        ),
    ),
)

_OF_RUN = (
    Variable("namespace", "label_values(luthier_run_state, namespace)"),
    Variable("kind", 'label_values(luthier_run_state{namespace="$namespace"}, kind)'),
    Variable("name", 'label_values(luthier_run_state{namespace="$namespace",kind="$kind"}, name)'),
)

ONE_RUN = Dashboard(
    "luthier-run",
    "Luthier: one run",
    "A run from its first step to its result. Its series are there for an hour after its end.",
    _OF_RUN,
    (
        (
            "Now",
            (
                table("Phase", "max by (phase, pool) (luthier_run_state{RUN})", width=8, height=4),
                table(
                    "Why it doesn't go on",
                    "max by (reason) (luthier_run_reason{RUN})",
                    width=4,
                    height=4,
                ),
                stat(
                    "Done",
                    "luthier_run_step{RUN} / luthier_run_total_steps{RUN}",
                    "percentunit",
                ),
                stat("Time left", "luthier_run_eta_seconds{RUN}", "s"),
                stat("Left to the deadline", "luthier_run_deadline_seconds{RUN}", "s"),
            ),
        ),
        (
            "Training",
            (
                graph(
                    "Loss",
                    Query("luthier_run_loss{RUN}", "training"),
                    Query("luthier_run_eval_loss{RUN}", "eval"),
                    unit="none",
                    log=True,
                    width=12,
                    height=9,
                ),
                graph(
                    "Metrics on eval",
                    Query("luthier_run_eval_metric{RUN}", "{{metric}}"),
                    unit="none",
                    width=12,
                    height=9,
                ),
                graph(
                    "Learning rate",
                    Query("luthier_run_learning_rate{RUN}", "rate"),
                    unit="sci",
                ),
                graph(
                    "Norm of the gradient",
                    Query("luthier_run_grad_norm{RUN}", "norm"),
                    unit="none",
                    log=True,
                ),
                graph(
                    "Speed",
                    Query("luthier_run_tokens_per_second{RUN}", "tokens a second"),
                    Query("luthier_run_samples_per_second{RUN}", "rows a second"),
                    log=True,
                ),
                graph(
                    "Trials of a search",
                    Query("luthier_run_trials_complete{RUN}", "complete"),
                    Query("luthier_run_trials_running{RUN}", "running"),
                    Query("luthier_run_trials_pruned{RUN}", "pruned"),
                    Query("luthier_run_trials_failed{RUN}", "failed"),
                    stacked=True,
                ),
                graph(
                    "The best trial",
                    Query("luthier_run_trials_best{RUN}", "best"),
                    unit="none",
                ),
                graph(
                    "Restarts",
                    Query("luthier_run_restarts_failures_total{RUN}", "crashes"),
                    Query("luthier_run_restarts_disruptions_total{RUN}", "evictions"),
                ),
            ),
        ),
        (
            "Machine",
            (
                graph(
                    "Memory",
                    Query("luthier_run_memory_bytes{RUN}", "pod"),
                    Query("luthier_run_gpu_memory_bytes{RUN}", "GPU"),
                    unit="bytes",
                ),
                graph(
                    "Busy",
                    Query("luthier_run_gpu_busy_ratio{RUN}", "GPU"),
                    Query("luthier_run_data_wait_ratio{RUN}", "waits for data"),
                    unit="percentunit",
                ),
                graph("CPUs busy", Query("luthier_run_cpu_busy_cores{RUN}", "CPUs")),
                graph(
                    "Checkpoints",
                    Query("luthier_run_checkpoint_last_seconds{RUN}", "upload of the last one"),
                    unit="s",
                ),
                graph(
                    "Size of a checkpoint",
                    Query("luthier_run_checkpoint_last_bytes{RUN}", "bytes"),
                    unit="bytes",
                ),
                graph(
                    "What this revision has used",
                    Query("luthier_run_gpu_seconds_total{RUN} / 3600", "GPU hours"),
                    Query("luthier_run_cpu_seconds_total{RUN} / 3600", "CPU hours"),
                    unit="none",
                ),
            ),
        ),
        (
            "Result",
            (
                bars(
                    "Base and tuned, on the same rows",
                    Query("luthier_run_evaluation{RUN}", "{{metric}} {{model}}"),
                    "none",
                    width=12,
                    height=9,
                ),
                bars(
                    "Candidates: size",
                    Query("luthier_run_candidate_bytes{RUN}", "{{precision}}"),
                    "bytes",
                    width=6,
                    height=9,
                ),
                bars(
                    "Candidates: tokens a second",
                    Query("luthier_run_candidate_tokens_per_second{RUN}", "{{precision}}"),
                    width=6,
                    height=9,
                ),
                table(
                    "Verdicts",
                    "max by (precision, verdict) (luthier_run_candidate_verdict{RUN})",
                    width=12,
                    height=6,
                ),
                stat("Package", "luthier_run_package_bytes{RUN}", "bytes", height=6),
                stat("Adapters in it", "luthier_run_package_adapters{RUN}", height=6),
                stat("Adapters left out", "luthier_run_adapters_left_out{RUN}", height=6),
            ),
        ),
    ),
)


def _used(what: str) -> str:
    return f"sum(increase(luthier_usage_{what}_total{{OF}}[$__range]))"


def _used_by(what: str, label: str) -> str:
    return f"sum by ({label}) (increase(luthier_usage_{what}_total{{OF}}[$__range]))"


TENANT = Dashboard(
    "luthier-usage",
    "Luthier: usage of a tenant",
    "What a namespace's runs have used in the time above, over retries, revisions and deletions. "
    "To charge it, take `luthier usage`.",
    (
        Variable(
            "namespace", "label_values(luthier_usage_cpu_seconds_total, namespace)", several=True
        ),
    ),
    (
        (
            "In the time above",
            (
                stat("GPU hours", f"{_used('gpu_seconds')} / 3600", "none", width=6),
                stat("CPU hours", f"{_used('cpu_seconds')} / 3600", "none", width=6),
                stat("Tokens learnt from", _used("trained_tokens"), width=6),
                stat("Uploaded", _used("stored_bytes"), "bytes", width=6),
                bars(
                    "GPU hours, by pool",
                    Query(f"{_used_by('gpu_seconds', 'pool')} / 3600", "{{pool}}"),
                    "none",
                    width=12,
                ),
                bars(
                    "CPU hours, by kind",
                    Query(f"{_used_by('cpu_seconds', 'kind')} / 3600", "{{kind}}"),
                    "none",
                    width=12,
                ),
                graph(
                    "GPUs held",
                    Query(
                        "sum by (pool) (rate(luthier_usage_gpu_seconds_total{OF}[5m]))",
                        "{{pool}}",
                    ),
                    stacked=True,
                    width=12,
                ),
                graph(
                    "CPUs held",
                    Query(
                        "sum by (pool) (rate(luthier_usage_cpu_seconds_total{OF}[5m]))",
                        "{{pool}}",
                    ),
                    stacked=True,
                    width=12,
                ),
            ),
        ),
        (
            "Runs",
            (
                graph("Runs by phase", _PHASES, stacked=True, width=12),
                graph(
                    "Why they wait, are stalled or failed",
                    Query("sum by (reason) (luthier_run_reason{OF})", "{{reason}}"),
                    stacked=True,
                    width=12,
                ),
                table(
                    "The costliest revisions that go on, or ended within an hour",
                    "topk(20, max by (namespace, kind, name) (luthier_run_cpu_seconds_total{OF}))",
                ),
            ),
        ),
    ),
    since="now-30d",
)

DASHBOARDS = (FLEET, ONE_RUN, TENANT)


def main(folder: Path = FOLDER) -> None:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        path = folder / f"{dashboard.uid}.json"
        path.write_text(json.dumps(model(dashboard), indent=1) + "\n")
        print(f"wrote {path.name}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
