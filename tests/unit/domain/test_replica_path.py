"""Where new repositories are kept, and which paths name object pools."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.domain.repository import (
    RelativePath,
    RepositoryId,
    derive_replica_path,
    is_praefect_pool_path,
    is_rails_pool_path,
)

DIGEST = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
POOL = f"@pools/6b/86/{DIGEST}.git"


@pytest.mark.parametrize(
    ("relative_path", "repository_id", "replica_path"),
    [
        ("a/b.git", 1, "@cluster/repositories/6b/86/1"),
        ("a/b.git", 2, "@cluster/repositories/d4/73/2"),
        (POOL, 1, "@cluster/pools/6b/86/1"),
        (f"prefix/{POOL}", 2, "@cluster/pools/d4/73/2"),
    ],
)
def test_replica_path_follows_from_the_id(relative_path: str, repository_id: int, replica_path: str) -> None:
    assert derive_replica_path(RelativePath(relative_path), RepositoryId(repository_id)) == replica_path


@pytest.mark.parametrize("path", [POOL, f"anything/{POOL}", f"x{POOL}", f"{POOL}/{POOL}"])
def test_rails_pool_path_is_recognised_by_its_end(path: str) -> None:
    assert is_rails_pool_path(path)


@pytest.mark.parametrize(
    "path",
    [
        f"{POOL}/",
        f"{POOL}\n",
        f"@pools/6b/87/{DIGEST}.git",
        f"@pools/6B/86/{DIGEST}.git",
        f"@pools/6b/86/{DIGEST[:-1]}.git",
        f"@pools/6b/86/{DIGEST}0.git",
        f"@hashed/6b/86/{DIGEST}.git",
        f"@pools/6b/86/{DIGEST}",
        "",
    ],
)
def test_other_paths_are_no_rails_pool_paths(path: str) -> None:
    assert not is_rails_pool_path(path)


@pytest.mark.parametrize("path", ["@cluster/pools/6b/86/1", "x/@cluster/pools/00/ff/12345678901"])
def test_praefect_pool_path_is_recognised_by_its_end(path: str) -> None:
    assert is_praefect_pool_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "@cluster/repositories/6b/86/1",
        "@cluster/pools/6b/86/",
        "@cluster/pools/6b/86/1.git",
        "@cluster/pools/6b/86/1\n",
        "@cluster/pools/6b/86/١",
    ],
)
def test_other_paths_are_no_praefect_pool_paths(path: str) -> None:
    assert not is_praefect_pool_path(path)


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_derived_pool_path_is_a_praefect_pool_path(repository_id: int) -> None:
    assert is_praefect_pool_path(derive_replica_path(RelativePath(POOL), RepositoryId(repository_id)))
