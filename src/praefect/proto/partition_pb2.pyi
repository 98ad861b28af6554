from praefect.proto import lint_pb2 as _lint_pb2
from praefect.proto import shared_pb2 as _shared_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BackupPartitionRequest(_message.Message):
    __slots__ = ("storage_name", "partition_id")
    STORAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    PARTITION_ID_FIELD_NUMBER: _ClassVar[int]
    storage_name: str
    partition_id: str
    def __init__(self, storage_name: _Optional[str] = ..., partition_id: _Optional[str] = ...) -> None: ...

class BackupPartitionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPartitionsRequest(_message.Message):
    __slots__ = ("storage_name", "pagination_params")
    STORAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    PAGINATION_PARAMS_FIELD_NUMBER: _ClassVar[int]
    storage_name: str
    pagination_params: _shared_pb2.PaginationParameter
    def __init__(self, storage_name: _Optional[str] = ..., pagination_params: _Optional[_Union[_shared_pb2.PaginationParameter, _Mapping[str, object]]] = ...) -> None: ...

class ListPartitionsResponse(_message.Message):
    __slots__ = ("partitions", "pagination_cursor")
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    PAGINATION_CURSOR_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedCompositeFieldContainer[_shared_pb2.Partition]
    pagination_cursor: _shared_pb2.PaginationCursor
    def __init__(self, partitions: _Optional[_Iterable[_Union[_shared_pb2.Partition, _Mapping[str, object]]]] = ..., pagination_cursor: _Optional[_Union[_shared_pb2.PaginationCursor, _Mapping[str, object]]] = ...) -> None: ...

class KVPair(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...
