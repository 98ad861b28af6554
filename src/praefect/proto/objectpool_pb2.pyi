from praefect.proto import lint_pb2 as _lint_pb2
from praefect.proto import shared_pb2 as _shared_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateObjectPoolRequest(_message.Message):
    __slots__ = ("object_pool", "origin")
    OBJECT_POOL_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    object_pool: _shared_pb2.ObjectPool
    origin: _shared_pb2.Repository
    def __init__(self, object_pool: _Optional[_Union[_shared_pb2.ObjectPool, _Mapping[str, object]]] = ..., origin: _Optional[_Union[_shared_pb2.Repository, _Mapping[str, object]]] = ...) -> None: ...

class CreateObjectPoolResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteObjectPoolRequest(_message.Message):
    __slots__ = ("object_pool",)
    OBJECT_POOL_FIELD_NUMBER: _ClassVar[int]
    object_pool: _shared_pb2.ObjectPool
    def __init__(self, object_pool: _Optional[_Union[_shared_pb2.ObjectPool, _Mapping[str, object]]] = ...) -> None: ...

class DeleteObjectPoolResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LinkRepositoryToObjectPoolRequest(_message.Message):
    __slots__ = ("object_pool", "repository")
    OBJECT_POOL_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    object_pool: _shared_pb2.ObjectPool
    repository: _shared_pb2.Repository
    def __init__(self, object_pool: _Optional[_Union[_shared_pb2.ObjectPool, _Mapping[str, object]]] = ..., repository: _Optional[_Union[_shared_pb2.Repository, _Mapping[str, object]]] = ...) -> None: ...

class LinkRepositoryToObjectPoolResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DisconnectGitAlternatesRequest(_message.Message):
    __slots__ = ("repository",)
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    repository: _shared_pb2.Repository
    def __init__(self, repository: _Optional[_Union[_shared_pb2.Repository, _Mapping[str, object]]] = ...) -> None: ...

class DisconnectGitAlternatesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FetchIntoObjectPoolRequest(_message.Message):
    __slots__ = ("origin", "object_pool")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    OBJECT_POOL_FIELD_NUMBER: _ClassVar[int]
    origin: _shared_pb2.Repository
    object_pool: _shared_pb2.ObjectPool
    def __init__(self, origin: _Optional[_Union[_shared_pb2.Repository, _Mapping[str, object]]] = ..., object_pool: _Optional[_Union[_shared_pb2.ObjectPool, _Mapping[str, object]]] = ...) -> None: ...

class FetchIntoObjectPoolResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetObjectPoolRequest(_message.Message):
    __slots__ = ("repository",)
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    repository: _shared_pb2.Repository
    def __init__(self, repository: _Optional[_Union[_shared_pb2.Repository, _Mapping[str, object]]] = ...) -> None: ...

class GetObjectPoolResponse(_message.Message):
    __slots__ = ("object_pool",)
    OBJECT_POOL_FIELD_NUMBER: _ClassVar[int]
    object_pool: _shared_pb2.ObjectPool
    def __init__(self, object_pool: _Optional[_Union[_shared_pb2.ObjectPool, _Mapping[str, object]]] = ...) -> None: ...
