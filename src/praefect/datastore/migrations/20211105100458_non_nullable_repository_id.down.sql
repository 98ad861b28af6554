ALTER TABLE storage_repositories
    ALTER COLUMN repository_id DROP NOT NULL,
    ADD CONSTRAINT repository_id_not_null CHECK (repository_id IS NOT NULL) NOT VALID;

ALTER TABLE repository_assignments
    ALTER COLUMN repository_id DROP NOT NULL,
    ADD CONSTRAINT repository_id_not_null CHECK (repository_id IS NOT NULL) NOT VALID;
