-- no transaction
CREATE INDEX CONCURRENTLY repository_replica_path_index ON repositories (replica_path, virtual_storage);
