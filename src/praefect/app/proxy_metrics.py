"""Praefect's own metrics: made here, told by the parts that measure. Source: the reference on Praefect's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.descriptor import ServiceDescriptor

from praefect.config.praefect import PraefectConfig
from praefect.control.compare import Compared
from praefect.control.doubts import Settled
from praefect.control.verify import VerificationResult
from praefect.datastore.cache import CacheObserver
from praefect.datastore.datastore import DatastoreObserver
from praefect.datastore.notifications import ListenerObserver
from praefect.domain.errors import PraefectError
from praefect.domain.outcome import Verdict
from praefect.domain.quorum import VoteResult
from praefect.domain.replication import Change, ReplicationEvent, ReplicaToVerify
from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.log import Level, get_logger
from praefect.observability.metrics import Collector, Counter, Gauge, Histogram
from praefect.transactions.manager import CastVote, VoteObserver
from praefect.transactions.transaction import Transaction, TransactionCancelledError
from praefect.transport.grpc.call_metrics import CallMetrics, ClientCallMetrics
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.token import TokenResult, TokenVerdict
from praefect.transport.listen import ListenerKind
from praefect.transport.methods import METHODS, MethodInfo, Operation

_log = get_logger("backchannel.PraefectServer")

_ACTIONS = {
    VoteResult.COMMITTED: "committed",
    VoteResult.FAILED: "failed",
    VoteResult.STOPPED: "stopped",
    VoteResult.CANCELLED: "canceled",
}
_AUTH_STATUS = {TokenResult.OK: "ok", TokenResult.MISSING: "unauthenticated"}


YAMUX_BUCKETS = tuple(4**exponent for exponent in range(11))

_OWN_KINDS = {
    "/grpc.health.v1.Health/Check": "unary",
    "/grpc.health.v1.Health/List": "unary",
    "/grpc.health.v1.Health/Watch": "server_stream",
}


def kind_of(method: str) -> str:
    """Return the type of a method as it is served here: what is forwarded is an opaque stream in both directions."""
    info = METHODS.get(method)
    if info is not None and info.intercepted:
        return info.kind
    return _OWN_KINDS.get(method, "bidi_stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class YamuxTraffic:
    """Counts what multiplexed connections read and write."""

    read: Histogram
    write: Histogram

    def on_read(self, size: int) -> None:
        """Count a read."""
        self.read.observe(size)

    def on_write(self, size: int) -> None:
        """Count a write."""
        self.write.observe(size)


class VerificationMetrics:
    """What the verifier does."""

    def __init__(self, layouts: Mapping[VirtualStorage, Sequence[Storage]]) -> None:
        """Make the metrics and show every configured storage."""
        labels = ("virtual_storage", "storage")
        self._dequeued = Counter("gitaly_praefect_verification_jobs_dequeued_total", "Replicas taken.", labels)
        self._completed = Counter(
            "gitaly_praefect_verification_jobs_completed_total", "Replicas verified.", (*labels, "result")
        )
        self._released = Counter("gitaly_praefect_stale_verification_leases_released_total", "Leases given back.")
        for virtual_storage, storages in layouts.items():
            self._dequeued.create([virtual_storage], storages)
            self._completed.create([virtual_storage], storages, [result.value for result in VerificationResult])

    def collectors(self) -> list[Collector]:
        """Return what is to be registered."""
        return [self._dequeued, self._completed, self._released]

    def dequeued(self, replica: ReplicaToVerify) -> None:
        """Count a replica taken for verification."""
        self._dequeued.labels(replica.virtual_storage, replica.storage).inc()

    def completed(self, replica: ReplicaToVerify, result: VerificationResult) -> None:
        """Count a verified replica."""
        self._completed.labels(replica.virtual_storage, replica.storage, result.value).inc()

    def released(self, count: int) -> None:
        """Count leases given back."""
        self._released.inc(count)


class ProxyMetrics:
    """All counters, and the observers that feed them."""

    def __init__(self, config: PraefectConfig, layouts: Mapping[VirtualStorage, Sequence[Storage]]) -> None:
        """Make the metrics of what the configuration switches on."""
        buckets = config.prometheus.grpc_latency_buckets
        self._transitioning = config.auth.transitioning
        self.calls = CallMetrics(kind_of=kind_of, buckets=buckets)
        self.node_calls = ClientCallMetrics(buckets=buckets)
        self.collectors: list[Collector] = [*self.calls.collectors(), *self.node_calls.collectors()]
        self.connections = self._counter("gitaly_praefect_connections_total", "Accepted connections.", "type")
        self.traffic = YamuxTraffic(
            read=self._histogram("gitaly_backchannel_yamux_read_size_bytes", "Size of reads.", YAMUX_BUCKETS),
            write=self._histogram("gitaly_backchannel_yamux_write_size_bytes", "Size of writes.", YAMUX_BUCKETS),
        )
        self.method_types = self._counter("gitaly_praefect_method_types", "Calls by kind.", "method_type")
        self.reads = self._counter(
            "gitaly_praefect_read_distribution", "Reads by storage.", "virtual_storage", "storage"
        )
        self.cache = self._counter(
            "gitaly_praefect_uptodate_storages_cache_access_total", "Use of the read cache.", "virtual_storage", "type"
        )
        self.reconnects = self._counter(
            "gitaly_praefect_notifications_reconnects_total", "Connections of the listener.", "state"
        )
        self.transactions = self._counter("gitaly_praefect_transactions_total", "Votes by outcome.", "action")
        self.vote_delay = self._histogram(
            "gitaly_praefect_transactions_delay_seconds", "Time from vote to outcome.", buckets, "action"
        )
        self.rounds = self._histogram(
            "gitaly_praefect_subtransactions_per_transaction_total", "Rounds of votes.", (0, 1, 2, 4, 8, 16, 32)
        )
        largest = max((len(storages) for storages in layouts.values()), default=1)
        self.voters = self._histogram(
            "gitaly_praefect_voters_per_transaction_total", "Voters.", range(1, largest + 1), "virtual_storage"
        )
        self.verdicts = self._counter(
            "gitaly_praefect_tx_replications_total", "Secondaries by outcome of a write.", "reason"
        )
        self.jobs = self._gauge(
            "gitaly_praefect_replication_jobs", "Jobs in work.", "virtual_storage", "gitaly_storage", "change_type"
        )
        self.latency = self._histogram("gitaly_praefect_replication_latency", "Duration of jobs.", buckets, "type")
        self.delay = self._histogram("gitaly_praefect_replication_delay", "Waiting of jobs.", buckets, "type")
        changes = [change.value for change in Change]
        self.latency.create(changes)
        self.delay.create(changes)
        self.authentications = self._counter("gitaly_authentications_total", "Tokens judged.", "enforced", "status")
        self.authentication_errors = self._counter(
            "gitaly_authentication_errors_total", "Tokens refused.", "version", "error"
        )
        self.flag_checks = self._counter("gitaly_feature_flag_checks_total", "Feature flags read.", "flag", "enabled")
        self.single_copies = self._own_counter(
            "praefect_single_copy_writes_total", "Acknowledged writes that one replica holds.", layouts
        )
        self.stale_reads = self._own_counter(
            "praefect_possibly_stale_reads_total", "Reads while the database was away.", layouts
        )
        self._count_own_loops()
        self.verification: VerificationMetrics | None = None
        if config.background_verification.verification_interval > timedelta(0):
            self.verification = VerificationMetrics(layouts)
            self.collectors += self.verification.collectors()
        self.reconciliations: Histogram | None = None
        if config.reconciliation.scheduling_interval > timedelta(0):
            self.reconciliations = self._histogram(
                "gitaly_praefect_reconciliation_scheduling_seconds",
                "Duration of passes.",
                config.reconciliation.histogram_buckets,
            )

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        counter = Counter(name, description, labels)
        self.collectors.append(counter)
        return counter

    def _count_own_loops(self) -> None:
        self.settlements = self._counter("praefect_settlements_total", "Attempts to settle doubts.", "outcome")
        self.settlements.create([result.value for result in Settled])
        self.comparisons = self._counter("praefect_comparisons_total", "Comparisons of replicas.", "outcome")
        self.comparisons.create([result.value for result in Compared])

    def _own_counter(self, name: str, description: str, layouts: Iterable[VirtualStorage]) -> Counter:
        """Return a counter by virtual storage that upstream does not have."""
        counter = self._counter(name, description, "virtual_storage")
        counter.create(layouts)
        return counter

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        gauge = Gauge(name, description, labels)
        self.collectors.append(gauge)
        return gauge

    def _histogram(self, name: str, description: str, buckets: Sequence[float], *labels: str) -> Histogram:
        histogram = Histogram(name, description, labels, buckets=buckets)
        self.collectors.append(histogram)
        return histogram

    # --- observers ---

    def count_connection(self, kind: ListenerKind) -> None:
        """Count an accepted connection."""
        self.connections.labels(kind.value).inc()

    def show_methods(self, services: Iterable[ServiceDescriptor]) -> None:
        """Show the methods of services from the start."""
        for service in services:
            for method in service.methods:
                kind = kind_of(f"/{service.full_name}/{method.name}")
                self.calls.create(kind, service.full_name, method.name)

    def count_method(self, method: MethodInfo) -> None:
        """Count a received call."""
        if method.operation is not Operation.UNKNOWN:
            self.method_types.labels(method.operation.value).inc()

    def method_counter(self, call: ServerCall) -> None:
        """Count a call by its kind, before it is authenticated; an observer of calls."""
        method = METHODS.get(call.method)
        if method is not None:
            self.count_method(method)

    def count_flags(self, call: ServerCall) -> None:
        """Count the one flag that Praefect looks at, once per vote; an observer of votes.

        It would switch on upstream's reference write locks, which are not built: it is read, and has no effect.
        """
        enabled = call.metadata.first("gitaly-feature-praefect-serialized-write") == "true"
        self.flag_checks.labels("praefect_serialized_write", "true" if enabled else "false").inc()

    def reconciliation_seconds(self, seconds: float) -> None:
        """Count a pass of the reconciler."""
        if self.reconciliations is not None:
            self.reconciliations.observe(seconds)

    def count_single_copy(self, virtual_storage: VirtualStorage) -> None:
        """Count an acknowledged write that one replica holds."""
        self.single_copies.labels(virtual_storage).inc()

    def count_settlement(self, result: Settled) -> None:
        """Count an attempt to settle the doubts of a repository."""
        self.settlements.labels(result.value).inc()

    def count_comparison(self, result: Compared) -> None:
        """Count a comparison of a repository's replicas."""
        self.comparisons.labels(result.value).inc()

    def count_voters(self, virtual_storage: VirtualStorage, count: int) -> None:
        """Count the voters of a transaction."""
        self.voters.labels(virtual_storage).observe(count)

    def count_read(self, virtual_storage: VirtualStorage, storage: Storage) -> None:
        """Count a routed read."""
        self.reads.labels(virtual_storage, storage).inc()

    def count_verdict(self, verdict: Verdict) -> None:
        """Count what was decided about a secondary."""
        self.verdicts.labels(verdict.value).inc()

    def count_token(self, verdict: TokenVerdict | None) -> None:
        """Count a judged token; ``None`` where no secret is configured."""
        enforced = "false" if self._transitioning else "true"
        if verdict is None:
            self.authentications.labels(enforced, "server disabled authentication").inc()
            return
        status = _AUTH_STATUS.get(verdict.result, "denied")
        if verdict.ok and self._transitioning:
            status = "would be ok"
        self.authentications.labels(enforced, status).inc()
        if status == "denied" and verdict.result is not TokenResult.WRONG_VERSION:
            self.authentication_errors.labels(verdict.version, verdict.result.value).inc()

    def vote_observer(self) -> VoteObserver:
        """Return the observer of transactions."""
        return VoteObserver(
            registered=self._registered,
            started=self._vote_started,
            decided=self._vote_decided,
            refused=self._vote_refused,
            stopped=lambda _id: self.transactions.labels("stopped").inc(),
            finished=self._finished,
        )

    def _registered(self, transaction: Transaction) -> None:
        self.transactions.labels("registered").inc(len(transaction.electorate.voters))
        voters = [voter.name for voter in transaction.electorate.voters]
        _log.debug("RegisterTransaction", **{"transaction.id": transaction.id, "transaction.voters": voters})

    def _vote_started(self, cast: CastVote) -> None:
        self.transactions.labels("started").inc()
        _log.debug("VoteTransaction", **_vote_fields(cast))

    def _vote_refused(self, cast: CastVote, error: PraefectError, seconds: float) -> None:
        self.transactions.labels("invalid").inc()
        self.vote_delay.labels("vote").observe(seconds)
        _log.log(Level.ERROR, "VoteTransaction: failure", **_vote_fields(cast), error=str(error))

    def _vote_decided(self, cast: CastVote, result: VoteResult, seconds: float) -> None:
        self.transactions.labels(_ACTIONS[result]).inc()
        self.vote_delay.labels("vote").observe(seconds)
        fields = _vote_fields(cast)
        match result:
            case VoteResult.COMMITTED:
                _log.info("VoteTransaction: transaction committed", **fields)
            case VoteResult.FAILED:
                error = "transaction did not reach quorum"
                _log.log(Level.ERROR, "VoteTransaction: did not reach quorum", **fields, error=error)
            case VoteResult.STOPPED:
                _log.debug("VoteTransaction: transaction stopped", **fields)
            case _:
                error = str(TransactionCancelledError())
                _log.log(Level.ERROR, "VoteTransaction: transaction was canceled", **fields, error=error)

    def _finished(self, transaction: Transaction) -> None:
        rounds = transaction.rounds
        self.rounds.labels().observe(len(rounds))
        results = rounds[-1].results() if rounds else {}
        committed = sum(result is VoteResult.COMMITTED for result in results.values())
        _log.info(
            "transaction completed",
            **{
                "transaction.id": transaction.id,
                "transaction.committed": f"{committed}/{len(transaction.electorate.voters)}",
                "transaction.subtransactions": len(rounds),
            },
        )

    def job_started(self, event: ReplicationEvent) -> None:
        """Count a job that is taken up."""
        job = event.job
        self.jobs.labels(job.virtual_storage, job.target_node_storage, job.change.value).inc()
        waited = (datetime.now(UTC) - event.created_at).total_seconds()
        self.delay.labels(job.change.value).observe(max(0.0, waited))

    def job_finished(self, event: ReplicationEvent, seconds: float | None) -> None:
        """Count a job that ended, with its duration if it succeeded."""
        job = event.job
        self.jobs.labels(job.virtual_storage, job.target_node_storage, job.change.value).dec()
        if seconds is not None:
            self.latency.labels(job.change.value).observe(seconds)

    def datastore_observer(self) -> DatastoreObserver:
        """Return the observer of the read cache and of its listener."""
        return DatastoreObserver(
            cache=CacheObserver(
                accessed=lambda virtual_storage, access: self.cache.labels(virtual_storage, access.value).inc(),
                served_stale=lambda virtual_storage: self.stale_reads.labels(virtual_storage).inc(),
            ),
            listener=ListenerObserver(
                connected=lambda: self.reconnects.labels("connected").inc(),
                disconnected=lambda: self.reconnects.labels("disconnected").inc(),
            ),
        )


def _vote_fields(cast: CastVote) -> dict[str, object]:
    return {
        "transaction.id": cast.transaction_id,
        "transaction.voter": cast.node,
        "transaction.hash": cast.vote.hex(),
    }
