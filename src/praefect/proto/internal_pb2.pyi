import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from praefect.proto import lint_pb2 as _lint_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WalkReposRequest(_message.Message):
    __slots__ = ("storage_name",)
    STORAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    storage_name: str
    def __init__(self, storage_name: _Optional[str] = ...) -> None: ...

class WalkReposResponse(_message.Message):
    __slots__ = ("relative_path", "modification_time")
    RELATIVE_PATH_FIELD_NUMBER: _ClassVar[int]
    MODIFICATION_TIME_FIELD_NUMBER: _ClassVar[int]
    relative_path: str
    modification_time: _timestamp_pb2.Timestamp
    def __init__(self, relative_path: _Optional[str] = ..., modification_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, object]]] = ...) -> None: ...

class ScanPoolMetadataRequest(_message.Message):
    __slots__ = ("storage_name",)
    STORAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    storage_name: str
    def __init__(self, storage_name: _Optional[str] = ...) -> None: ...

class ScanPoolMetadataResponse(_message.Message):
    __slots__ = ("relative_path", "pool_disk_path", "is_upstream")
    RELATIVE_PATH_FIELD_NUMBER: _ClassVar[int]
    POOL_DISK_PATH_FIELD_NUMBER: _ClassVar[int]
    IS_UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    relative_path: str
    pool_disk_path: str
    is_upstream: bool
    def __init__(self, relative_path: _Optional[str] = ..., pool_disk_path: _Optional[str] = ..., is_upstream: _Optional[bool] = ...) -> None: ...

class StorePoolMetadataRequest(_message.Message):
    __slots__ = ("storage_name", "relative_path", "pool_disk_path", "is_upstream")
    STORAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_PATH_FIELD_NUMBER: _ClassVar[int]
    POOL_DISK_PATH_FIELD_NUMBER: _ClassVar[int]
    IS_UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    storage_name: str
    relative_path: str
    pool_disk_path: str
    is_upstream: bool
    def __init__(self, storage_name: _Optional[str] = ..., relative_path: _Optional[str] = ..., pool_disk_path: _Optional[str] = ..., is_upstream: _Optional[bool] = ...) -> None: ...

class StorePoolMetadataResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoolMetadataRequest(_message.Message):
    __slots__ = ("storage_name",)
    STORAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    storage_name: str
    def __init__(self, storage_name: _Optional[str] = ...) -> None: ...

class ListPoolMetadataResponse(_message.Message):
    __slots__ = ("pool_disk_path",)
    POOL_DISK_PATH_FIELD_NUMBER: _ClassVar[int]
    pool_disk_path: str
    def __init__(self, pool_disk_path: _Optional[str] = ...) -> None: ...

class ListPoolUpstreamsRequest(_message.Message):
    __slots__ = ("storage_name", "pool_disk_paths")
    STORAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    POOL_DISK_PATHS_FIELD_NUMBER: _ClassVar[int]
    storage_name: str
    pool_disk_paths: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, storage_name: _Optional[str] = ..., pool_disk_paths: _Optional[_Iterable[str]] = ...) -> None: ...

class ListPoolUpstreamsResponse(_message.Message):
    __slots__ = ("upstreams",)
    class UpstreamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    UPSTREAMS_FIELD_NUMBER: _ClassVar[int]
    upstreams: _containers.ScalarMap[str, str]
    def __init__(self, upstreams: _Optional[_Mapping[str, str]] = ...) -> None: ...
