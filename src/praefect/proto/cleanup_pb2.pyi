from praefect.proto import lint_pb2 as _lint_pb2
from praefect.proto import shared_pb2 as _shared_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApplyBfgObjectMapStreamRequest(_message.Message):
    __slots__ = ("repository", "object_map")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    OBJECT_MAP_FIELD_NUMBER: _ClassVar[int]
    repository: _shared_pb2.Repository
    object_map: bytes
    def __init__(self, repository: _Optional[_Union[_shared_pb2.Repository, _Mapping[str, object]]] = ..., object_map: _Optional[bytes] = ...) -> None: ...

class ApplyBfgObjectMapStreamResponse(_message.Message):
    __slots__ = ("entries",)
    class Entry(_message.Message):
        __slots__ = ("type", "old_oid", "new_oid")
        TYPE_FIELD_NUMBER: _ClassVar[int]
        OLD_OID_FIELD_NUMBER: _ClassVar[int]
        NEW_OID_FIELD_NUMBER: _ClassVar[int]
        type: _shared_pb2.ObjectType
        old_oid: str
        new_oid: str
        def __init__(self, type: _Optional[_Union[_shared_pb2.ObjectType, str]] = ..., old_oid: _Optional[str] = ..., new_oid: _Optional[str] = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[ApplyBfgObjectMapStreamResponse.Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[ApplyBfgObjectMapStreamResponse.Entry, _Mapping[str, object]]]] = ...) -> None: ...

class RewriteHistoryRequest(_message.Message):
    __slots__ = ("repository", "blobs", "redactions")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    REDACTIONS_FIELD_NUMBER: _ClassVar[int]
    repository: _shared_pb2.Repository
    blobs: _containers.RepeatedScalarFieldContainer[str]
    redactions: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, repository: _Optional[_Union[_shared_pb2.Repository, _Mapping[str, object]]] = ..., blobs: _Optional[_Iterable[str]] = ..., redactions: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RewriteHistoryResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
