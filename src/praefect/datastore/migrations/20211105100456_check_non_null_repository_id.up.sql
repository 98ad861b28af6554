-- Not valid: it holds for new rows at once, and old ones are looked at by the next migration.
ALTER TABLE repository_assignments
    ADD CONSTRAINT repository_id_not_null CHECK (repository_id IS NOT NULL) NOT VALID;

ALTER TABLE storage_repositories
    ADD CONSTRAINT repository_id_not_null CHECK (repository_id IS NOT NULL) NOT VALID;
