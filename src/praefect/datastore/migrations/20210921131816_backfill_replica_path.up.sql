UPDATE repositories SET replica_path = relative_path;
