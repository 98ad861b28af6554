ALTER TABLE storage_repositories
    DROP CONSTRAINT storage_repositories_repository_id_fkey,
    ADD CONSTRAINT storage_repositories_repository_id_fkey
        FOREIGN KEY (repository_id) REFERENCES repositories (repository_id) ON DELETE CASCADE;
