import pytest

from praefect.transport.grpc.service import snake_case


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Check", "check"),
        ("PostUploadPackWithSidechannel", "post_upload_pack_with_sidechannel"),
        ("SSHUploadPack", "ssh_upload_pack"),
        ("UserFFBranch", "user_ff_branch"),
        ("CreateRepositoryFromURL", "create_repository_from_url"),
        ("ListLFSPointers", "list_lfs_pointers"),
        ("GetTreeEntries", "get_tree_entries"),
        ("FindRefsByOID", "find_refs_by_oid"),
        ("ListAllLFSPointers", "list_all_lfs_pointers"),
    ],
)
def test_python_names_of_methods(name: str, expected: str) -> None:
    assert snake_case(name) == expected
