CREATE UNIQUE INDEX repository_assignments_new_pkey ON repository_assignments (repository_id, storage);

CREATE UNIQUE INDEX storage_repositories_new_pkey ON storage_repositories (repository_id, storage);
