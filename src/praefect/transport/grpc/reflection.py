"""Server reflection, v1 and v1alpha: lets generic clients list services and fetch their descriptors.

Source: gRPC server reflection protocol. Both versions have the same messages on the wire under different names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool

from praefect.proto import reflection_pb2, reflection_v1alpha_pb2
from praefect.transport.grpc.status import StatusCode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.descriptor import FileDescriptor

    from praefect.transport.grpc.server import Server
    from praefect.transport.grpc.server_call import ServerCall

    Request = reflection_pb2.ServerReflectionRequest
    Response = reflection_pb2.ServerReflectionResponse


class ReflectionService:
    """Answers from the process's descriptors; lists the services of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pool = descriptor_pool.Default()

    async def server_reflection_info(
        self, requests: AsyncIterator[Request], _call: ServerCall
    ) -> AsyncGenerator[Response, None]:
        """Answer each question in turn."""
        async for request in requests:
            response = reflection_pb2.ServerReflectionResponse(valid_host=request.host)
            # The request may be of v1alpha, whose messages are the same in all but name.
            response.original_request.MergeFromString(request.SerializeToString())
            try:
                self._fill(request, response)
            except KeyError as exc:
                response.error_response.error_code = StatusCode.NOT_FOUND
                response.error_response.error_message = str(exc.args[0]) if exc.args else "not found"
            yield response

    def _fill(self, request: Request, response: Response) -> None:
        """Answer one question.

        Raises:
            KeyError: what it names is unknown.
        """
        match request.WhichOneof("message_request"):
            case "file_by_filename":
                self._put_file(self._pool.FindFileByName(request.file_by_filename), response)
            case "file_containing_symbol":
                self._put_file(self._pool.FindFileContainingSymbol(request.file_containing_symbol), response)
            case "file_containing_extension":
                wanted = request.file_containing_extension
                extended = self._pool.FindMessageTypeByName(wanted.containing_type)
                extension = self._pool.FindExtensionByNumber(extended, wanted.extension_number)
                self._put_file(self._pool.FindFileContainingSymbol(extension.full_name), response)
            case "all_extension_numbers_of_type":
                extended = self._pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                numbers = response.all_extension_numbers_response
                numbers.base_type_name = extended.full_name
                numbers.extension_number.extend(sorted(e.number for e in self._pool.FindAllExtensions(extended)))
            case "list_services":
                for name in sorted(descriptor.full_name for descriptor in self._server.services):
                    response.list_services_response.service.add(name=name)
            case None:
                response.error_response.error_code = StatusCode.INVALID_ARGUMENT
                response.error_response.error_message = "invalid MessageRequest"

    def _put_file(self, file: FileDescriptor, response: Response) -> None:
        """Put in the file and all it depends on, each once, the file itself first."""
        seen: dict[str, FileDescriptor] = {}
        waiting = [file]
        while waiting:
            current = waiting.pop()
            if current.name not in seen:
                seen[current.name] = current
                waiting.extend(current.dependencies)
        files = response.file_descriptor_response.file_descriptor_proto
        files.extend(descriptor.serialized_pb for descriptor in seen.values())


def add_reflection(server: Server) -> None:
    """Serve both versions of server reflection."""
    service = ReflectionService(server)
    server.add_service(reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"], service)
    server.add_service(reflection_v1alpha_pb2.DESCRIPTOR.services_by_name["ServerReflection"], service)
