"""RepositoryInfo: how a repository is laid out on disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.node.inventory import Inventory, take_inventory
from praefect.node.pools import is_pool_path
from praefect.node.services.repository.inspection import directory_size
from praefect.node.services.repository.part import RepositoryPart
from praefect.node.storage.alternates import all_object_directories
from praefect.proto.repository_pb2 import RepositoryInfoRequest, RepositoryInfoResponse

if TYPE_CHECKING:
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall


class InfoPart(RepositoryPart):
    """The RPC that describes a repository's files."""

    async def repository_info(self, request: RepositoryInfoRequest, call: ServerCall) -> RepositoryInfoResponse:
        """Return sizes and counts; those of the pool are added to the repository's."""
        del call
        repository = self._storages.open(request.repository)
        return await asyncio.to_thread(_describe, repository)


def _describe(repository: LocalRepository) -> RepositoryInfoResponse:
    own = take_inventory(repository.path)
    size = directory_size(repository.path)
    inventories = [own]
    alternates = all_object_directories(repository.root, repository.path / "objects")[1:]
    for objects in alternates:
        inventories.append(take_inventory(objects.parent))
        size += directory_size(objects.parent)
    response = RepositoryInfoResponse(size=size, is_object_pool=is_pool_path(repository.relative_path))
    response.references.loose_count = own.loose_references
    response.references.packed_size = own.packed_references_size
    response.references.reference_backend = response.references.REFERENCE_BACKEND_FILES
    _fill_objects(response, inventories)
    _fill_commit_graph(response, own)
    if own.full_repack_time:
        response.last_full_repack.FromNanoseconds(own.full_repack_time)
    response.alternates.object_directories.extend(str(each) for each in own.alternates)
    if own.alternates_time:
        response.alternates.last_modified.FromNanoseconds(own.alternates_time)
    return response


def _fill_objects(response: RepositoryInfoResponse, inventories: list[Inventory]) -> None:
    objects = response.objects
    for each in inventories:
        packed = sum(pack.size for pack in each.packs)
        cruft = sum(pack.size for pack in each.packs if pack.cruft)
        objects.keep_size += sum(pack.size for pack in each.packs if pack.keep)
        objects.recent_size += packed - cruft + each.loose_size - each.stale_loose_size
        objects.stale_size += cruft + each.stale_loose_size
        objects.size += packed + each.loose_size
        objects.packfile_count += len(each.packs)
        objects.cruft_count += sum(pack.cruft for pack in each.packs)
        objects.keep_count += sum(pack.keep for pack in each.packs)
        objects.reverse_index_count += sum(pack.reverse_index for pack in each.packs)
        objects.loose_objects_count += each.loose_objects
        objects.stale_loose_objects_count += each.stale_loose_objects
        objects.loose_objects_garbage_count += each.garbage


def _fill_commit_graph(response: RepositoryInfoResponse, own: Inventory) -> None:
    graph = own.commit_graph
    response.commit_graph.commit_graph_chain_length = graph.chain_length
    response.commit_graph.has_bloom_filters = graph.bloom_filters
    response.commit_graph.has_generation_data = graph.generation_data
    response.commit_graph.has_generation_data_overflow = graph.generation_overflow
    for found, message in ((own.bitmap, response.bitmap), (own.midx_bitmap, response.multi_pack_index_bitmap)):
        if found is not None:
            message.version = found.version
            message.has_hash_cache = found.hash_cache
            message.has_lookup_table = found.lookup_table
    if own.midx is not None:
        response.multi_pack_index.version = own.midx.version
        response.multi_pack_index.packfile_count = own.midx.packs
        response.multi_pack_index.has_large_offsets = own.midx.large_offsets
        response.multi_pack_index.has_reverse_index = own.midx.reverse_index
        response.multi_pack_index.has_bitmapped_packs = own.midx.bitmapped_packs
