"""OptimizeRepository and PruneUnreachableObjects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError, UnimplementedError
from praefect.node.housekeeping.optimize import Strategy, optimize, prune_unreachable
from praefect.node.pools import is_pool_path
from praefect.node.services.repository.part import RepositoryPart
from praefect.proto.repository_pb2 import (
    OptimizeRepositoryRequest,
    OptimizeRepositoryResponse,
    PruneUnreachableObjectsRequest,
    PruneUnreachableObjectsResponse,
)

if TYPE_CHECKING:
    from praefect.transport.grpc.server_call import ServerCall

_STRATEGIES = {
    OptimizeRepositoryRequest.STRATEGY_UNSPECIFIED: Strategy.HEURISTICAL,
    OptimizeRepositoryRequest.STRATEGY_HEURISTICAL: Strategy.HEURISTICAL,
    OptimizeRepositoryRequest.STRATEGY_EAGER: Strategy.EAGER,
}
_OFFLOADING = frozenset([OptimizeRepositoryRequest.STRATEGY_OFFLOADING, OptimizeRepositoryRequest.STRATEGY_REHYDRATION])


class MaintenancePart(RepositoryPart):
    """RPCs that tidy up."""

    async def optimize_repository(
        self, request: OptimizeRepositoryRequest, call: ServerCall
    ) -> OptimizeRepositoryResponse:
        """Tidy the repository up."""
        del call
        repository = self._storages.open(request.repository)
        if request.strategy in _OFFLOADING:
            raise UnimplementedError("offloading feature not enabled")
        strategy = _STRATEGIES.get(request.strategy)
        if strategy is None:
            raise InvalidArgumentError(f"unsupported optimization strategy {request.strategy}")
        await optimize(self._context, repository, strategy)
        return OptimizeRepositoryResponse()

    async def prune_unreachable_objects(
        self, request: PruneUnreachableObjectsRequest, call: ServerCall
    ) -> PruneUnreachableObjectsResponse:
        """Drop what nothing reaches."""
        del call
        repository = self._storages.open(request.repository)
        if is_pool_path(repository.relative_path):
            raise InvalidArgumentError("pruning objects for object pool")
        await prune_unreachable(self._context, repository)
        return PruneUnreachableObjectsResponse()
