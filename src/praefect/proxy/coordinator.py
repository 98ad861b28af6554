"""The request path as a straight line: classify, route, forward, finalize. Authentication has happened before.

Source: the Praefect reference on the director pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from google.protobuf.message import Message

from praefect.domain.doubts import Doubt, DoubtsPendingError
from praefect.domain.errors import InternalError, PraefectError
from praefect.domain.repository import (
    RelativePath,
    RepositoryExistsError,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
)
from praefect.observability.log import add_request_fields, get_logger
from praefect.proxy.admission import WriteAdmission
from praefect.proxy.classify import (
    RepositoryCall,
    UnknownStorageNameError,
    classify_repository,
    classify_storage,
    decode,
    find_method,
    partitioning_hint,
    wants_primary,
)
from praefect.proxy.doubts import Doubts, doubt_about
from praefect.proxy.finalize import RECORD_LIMIT_SECONDS, Finalizer, Write
from praefect.proxy.forward import ReadForwarder
from praefect.proxy.forward_write import WriteForwarder
from praefect.proxy.rewrite import PARTITIONING_HINT, forwarded_metadata
from praefect.proxy.route import Router
from praefect.proxy.routes import MutatorRoute, Route
from praefect.proxy.routing_errors import RepositoryReadOnlyError, UnknownVirtualStorageError, prefixed, routed
from praefect.runtime.completions import Completions
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import StatusError
from praefect.transport.methods import Change, MethodInfo, Operation, Scope

_FINALIZE_TIMEOUT = timedelta(seconds=RECORD_LIMIT_SECONDS + 5)  # behind the finalizer's own limit
_ADMISSIONS = 3  # how often a write is routed anew because an interrupted one had to be settled
# Existing repositories are updated by these where others that create refuse.
_CREATE_OR_UPDATE = frozenset(
    {"/gitaly.RepositoryService/ReplicateRepository", "/gitaly.RepositoryService/RestoreRepository"}
)

_log = get_logger("praefect.StreamServerInterceptor")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallObserver:
    """Whom to tell of calls; the metrics belong to whoever builds the coordinator."""

    received: Callable[[MethodInfo], None] = lambda _method: None
    read_routed: Callable[[VirtualStorage, Storage], None] = lambda _virtual_storage, _storage: None


class Coordinator:
    """Handles every call that Praefect does not answer itself."""

    def __init__(  # noqa: PLR0913 - one port per step, and doubts
        self,
        *,
        router: Router,
        reads: ReadForwarder,
        writes: WriteForwarder,
        finalizer: Finalizer,
        completions: Completions,
        doubts: Doubts | None = None,
        observer: CallObserver | None = None,
        admission: WriteAdmission | None = None,
    ) -> None:
        self._admission = admission or WriteAdmission()
        self._doubts = doubts
        self._router = router
        self._reads = reads
        self._writes = writes
        self._finalizer = finalizer
        self._completions = completions
        self._observer = observer or CallObserver()

    async def handle(self, call: ServerCall) -> None:
        """Forward one call to the nodes it belongs to."""
        _log.debug("Stream director received method", method=call.method)
        method = find_method(call.method)
        message = decode(method, await call.receive())
        match method.scope:
            case Scope.REPOSITORY:
                try:
                    request = classify_repository(method, message, self._router.knows)
                except UnknownStorageNameError as exc:
                    add_request_fields({"error_metadata": {"storage_name": exc.storage_name}})
                    raise
                await self._handle_repository(call, request)
            case Scope.STORAGE:
                await self._handle_storage(call, method, message)
            case Scope.PARTITION:
                raise InternalError('rpc with undefined scope "partition"')
            case _:
                assert_never(method.scope)

    async def _handle_repository(self, call: ServerCall, request: RepositoryCall) -> None:
        try:
            match request.method.operation:
                case Operation.ACCESSOR:
                    await self._read(call, request)
                case Operation.MUTATOR:
                    await self._write(call, request)
                case Operation.MAINTENANCE:
                    await self._maintain(call, request)
                case _:
                    raise InternalError(f"unknown operation type: {request.method.operation}")
        except RepositoryNotFoundError:
            names = {"relative_path": request.relative_path, "storage_name": request.virtual_storage}
            add_request_fields({"error_metadata": names})
            raise

    async def _read(self, call: ServerCall, request: RepositoryCall) -> None:
        if self._doubts is not None:
            await self._doubts.wait_readable(request.virtual_storage, request.relative_path)
        route = await routed(
            "accessor call: route repository accessor: ",
            lambda: self._router.route_accessor(
                request.virtual_storage,
                request.relative_path,
                force_primary=wants_primary(request.method, call.metadata),
            ),
        )
        _log_route(request, route)
        self._observer.read_routed(request.virtual_storage, route.storage)
        metadata = forwarded_metadata(call.metadata, request.virtual_storage, call.correlation_id)
        await self._reads.forward_accessor(call, request, route, metadata)

    async def _write(self, call: ServerCall, request: RepositoryCall) -> None:
        async with self._admission.admitted(request.virtual_storage, request.relative_path):
            await self._write_admitted(call, request)

    async def _write_admitted(self, call: ServerCall, request: RepositoryCall) -> None:
        hint = partitioning_hint(request, call.metadata)
        route, doubt = await self._admit(request, hint or request.additional_relative_path)
        _log_route(request, route)
        metadata = forwarded_metadata(call.metadata, request.virtual_storage, call.correlation_id)
        if hint is not None and route.additional_replica_path is not None:
            metadata.set(PARTITIONING_HINT, route.additional_replica_path)
        with self._in_doubt(doubt):
            outcome = await self._writes.forward_mutator(call, request, route, metadata)
        write = Write(
            virtual_storage=request.virtual_storage,
            relative_path=request.relative_path,
            full_method=request.method.full_name,
            correlation_id=call.correlation_id,
            route=route,
            outcome=outcome.write,
            transactional=request.method.transactional,
            doubt=doubt,
        )
        try:
            await self._completions.run(
                lambda: self._finalizer.record(write), name=f"record {request.method.name}", timeout=_FINALIZE_TIMEOUT
            )
        except PraefectError as exc:
            _log.error("coordinator proxy stream finalizer failure", error=str(exc))
            raise
        call.finish(outcome.status, outcome.trailing_metadata)

    async def _admit(
        self, request: RepositoryCall, additional: RelativePath | None
    ) -> tuple[MutatorRoute, Doubt | None]:
        """Route a write and open its doubt; interrupted ones are settled first, which may change the route."""
        if self._doubts is None:
            return await self._route_write(request, additional), None
        for _ in range(_ADMISSIONS):
            await self._doubts.wait_writable(request.virtual_storage, request.relative_path)
            route = await self._route_write(request, additional)
            if not request.method.transactional:
                return route, None
            try:
                return route, await self._doubts.open(doubt_about(request, route))
            except DoubtsPendingError:
                await self._doubts.settle(route.repository_id)
        raise DoubtsPendingError

    @contextmanager
    def _in_doubt(self, doubt: Doubt | None) -> Iterator[None]:
        """Begin a write unless its doubt may have lapsed; if it fails, say whether anything can have come of it."""
        if self._doubts is None or doubt is None:
            yield
            return
        self._doubts.check(doubt)
        try:
            yield
        except StatusError:
            # The primary could not be reached.
            self._doubts.close(doubt)
            raise
        except BaseException:
            self._doubts.abandon(doubt)
            raise

    async def _route_write(self, request: RepositoryCall, additional: RelativePath | None) -> MutatorRoute:
        target = (request.virtual_storage, request.relative_path, additional)
        if request.method.change is not Change.CREATE:
            return await routed(
                "mutator call: route repository mutator: ",
                lambda: self._router.route_mutator(*target),
                RepositoryReadOnlyError,
            )
        prefix = "route repository creation: "
        try:
            return await routed(prefix, lambda: self._router.route_creation(*target))
        except RepositoryExistsError:
            if request.method.full_name not in _CREATE_OR_UPDATE:
                raise
        return await routed(prefix, lambda: self._router.route_mutator(*target))

    async def _maintain(self, call: ServerCall, request: RepositoryCall) -> None:
        route = await routed(
            "routing repository maintenance: ",
            lambda: self._router.route_maintenance(request.virtual_storage, request.relative_path),
        )
        _log_route(request, route)
        metadata = forwarded_metadata(call.metadata, request.virtual_storage, call.correlation_id)
        await self._reads.forward_maintenance(call, request, route, metadata)

    async def _handle_storage(self, call: ServerCall, method: MethodInfo, message: Message) -> None:
        request = classify_storage(method, message)
        if method.operation is Operation.MUTATOR:
            raise InternalError(
                f'mutator storage scoped: get shard "{request.virtual_storage}": '
                "RouteStorageMutator is not implemented on PerRepositoryRouter"
            )
        with prefixed(
            f'accessor storage scoped: route storage accessor "{request.virtual_storage}": ',
            bare=UnknownVirtualStorageError,
        ):
            route = self._router.route_storage_accessor(request.virtual_storage)
        add_request_fields({"virtual_storage": request.virtual_storage, "route": route.describe()})
        await self._reads.forward_storage_accessor(call, request, route)


def _log_route(request: RepositoryCall, route: Route) -> None:
    """Have all further log lines of the call say where it goes."""
    add_request_fields(
        {
            "virtual_storage": request.virtual_storage,
            "relative_path": request.relative_path,
            "route": route.describe(),
        }
    )
