//! What the gateway counts and times, and the gauges it reads from the crates below when somebody looks.

use std::{
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use stride_ids::{Code, Failure};

use crate::routes::Gateway;

/// What a request asked for. The label of the request metrics, so the list is closed.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Function,
    Ask,
    Tell,
    ObjectRead,
    ObjectWrite,
}

impl Work {
    fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Ask => "ask",
            Self::Tell => "tell",
            Self::ObjectRead => "object_read",
            Self::ObjectWrite => "object_write",
        }
    }
}

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the process's metrics recorder, once.
pub fn install_recorder() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        builder.install_recorder().expect("nothing else in this process installs a recorder")
    });
}

/// The request histograms, resolved once: looking a metric up by name costs more than recording it.
static SECONDS: LazyLock<[metrics::Histogram; 5]> = LazyLock::new(|| {
    [Work::Function, Work::Ask, Work::Tell, Work::ObjectRead, Work::ObjectWrite]
        .map(|work| metrics::histogram!("stride_request_seconds", "work" => work.as_str()))
});

impl Gateway {
    /// Notes the end of a request.
    pub(crate) fn observe(&self, work: Work, began: Duration, failure: Option<&Failure>) {
        SECONDS[work as usize].record(self.clock.now() - began);
        if let Some(Failure { code, message }) = failure {
            metrics::counter!("stride_failures_total", "work" => work.as_str(), "code" => code.as_str()).increment(1);
            if *code == Code::Internal {
                tracing::error!(work = work.as_str(), "{message}");
            }
        }
    }

    /// The text that Prometheus reads.
    pub(crate) fn render_metrics(&self) -> String {
        let turns = self.engine.stats();
        let calls = self.functions.stats();
        for (outcome, count) in [
            ("committed", turns.committed),
            ("read_only", turns.read),
            ("discarded", turns.discarded),
            ("replayed", turns.replayed),
        ] {
            metrics::counter!("stride_turns_total", "outcome" => outcome).absolute(count);
        }
        metrics::counter!("stride_agents_passivated_total").absolute(turns.passivated);
        metrics::gauge!("stride_agents_live").set(turns.live as f64);
        for (outcome, count) in [("handled", turns.handled), ("failed", turns.failed)] {
            metrics::counter!("stride_messages_total", "outcome" => outcome).absolute(count);
        }
        metrics::counter!("stride_timers_fired_total").absolute(turns.fired);
        for (place, count) in [("waiting", turns.waiting), ("leaving", turns.leaving), ("parked", turns.parked)] {
            metrics::gauge!("stride_messages", "place" => place).set(count as f64);
        }
        metrics::gauge!("stride_timers").set(turns.timers as f64);
        metrics::gauge!("stride_replies_remembered").set(turns.replies as f64);
        metrics::gauge!("stride_staged_bytes").set(turns.staged_bytes as f64);
        metrics::gauge!("stride_guest_memory_bytes").set(calls.guest_memory_bytes as f64);
        for (outcome, count) in [("succeeded", calls.succeeded), ("failed", calls.failed)] {
            metrics::counter!("stride_calls_total", "outcome" => outcome).absolute(count);
        }
        for (state, count) in [("running", calls.running), ("waiting", calls.waiting)] {
            metrics::gauge!("stride_calls_active", "state" => state).set(count as f64);
        }
        for (outcome, count) in [("hit", calls.memo_hits), ("miss", calls.memo_misses)] {
            metrics::counter!("stride_memo_total", "outcome" => outcome).absolute(count);
        }
        metrics::gauge!("stride_memo_bytes").set(calls.memo_bytes as f64);
        metrics::counter!("stride_object_copies_ordered_total").absolute(calls.copies_ordered);
        metrics::counter!("stride_object_ahead_bytes_total").absolute(calls.ahead_bytes);
        metrics::counter!("stride_object_ahead_chunks_dropped_total").absolute(calls.ahead_dropped);
        let maps = self.maps.stats();
        for (outcome, count) in [("done", maps.done), ("failed", maps.failed)] {
            metrics::counter!("stride_map_items_total", "outcome" => outcome).absolute(count);
        }
        metrics::counter!("stride_map_items_hedged_total").absolute(maps.hedged);
        metrics::counter!("stride_map_items_memoised_total").absolute(maps.memoised);
        metrics::gauge!("stride_maps_running").set(maps.running as f64);
        let runs = self.runs.stats();
        metrics::gauge!("stride_runs_active").set(runs.active as f64);
        metrics::counter!("stride_run_calls_sent_total").absolute(runs.calls_sent);
        metrics::counter!("stride_run_calls_taken_total").absolute(runs.calls_taken);
        let objects = self.objects.stats();
        for (outcome, count) in [("hit", objects.hits), ("miss", objects.misses)] {
            metrics::counter!("stride_object_chunks_total", "outcome" => outcome).absolute(count);
        }
        let disk = objects.disk;
        for (outcome, count) in [("hit", disk.hits), ("miss", disk.misses)] {
            metrics::counter!("stride_object_disk_chunks_total", "outcome" => outcome).absolute(count);
        }
        metrics::counter!("stride_object_disk_chunks_damaged_total").absolute(disk.damaged);
        metrics::counter!("stride_object_disk_chunks_dropped_total").absolute(disk.dropped);
        metrics::counter!("stride_object_disk_written_bytes_total").absolute(disk.written_bytes);
        metrics::gauge!("stride_object_disk_cache_bytes").set(disk.bytes as f64);
        for (from, count) in [("cache", objects.hit_bytes), ("disk", disk.hit_bytes), ("storage", objects.read_bytes)] {
            metrics::counter!("stride_object_read_bytes_total", "from" => from).absolute(count);
        }
        for (outcome, count) in [("written", objects.written_bytes), ("shared", objects.shared_bytes)] {
            metrics::counter!("stride_object_put_bytes_total", "outcome" => outcome).absolute(count);
        }
        metrics::counter!("stride_object_chunks_corrupt_total").absolute(objects.corrupt);
        metrics::gauge!("stride_object_cache_bytes").set(objects.bytes as f64);
        RECORDER.get().map(PrometheusHandle::render).unwrap_or_default()
    }
}
