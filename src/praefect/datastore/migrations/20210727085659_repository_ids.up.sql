-- Repositories get a number as their key. The old key stays unique, for look-ups and for the foreign key of assignments,
-- which PostgreSQL 11 named after one column only.
CREATE UNIQUE INDEX repository_lookup_index ON repositories (virtual_storage, relative_path);

ALTER TABLE repository_assignments
    DROP CONSTRAINT IF EXISTS repository_assignments_virtual_storage_relative_path_fkey,
    DROP CONSTRAINT IF EXISTS repository_assignments_virtual_storage_fkey;

ALTER TABLE repositories DROP CONSTRAINT repositories_pkey;

ALTER TABLE repository_assignments
    ADD CONSTRAINT repository_assignments_virtual_storage_relative_path_fkey
        FOREIGN KEY (virtual_storage, relative_path)
        REFERENCES repositories (virtual_storage, relative_path)
        ON UPDATE CASCADE ON DELETE CASCADE;

ALTER TABLE repositories ADD COLUMN repository_id bigserial PRIMARY KEY;

ALTER TABLE repository_assignments
    ADD COLUMN repository_id bigint REFERENCES repositories (repository_id) ON DELETE CASCADE;

ALTER TABLE storage_repositories
    ADD COLUMN repository_id bigint REFERENCES repositories (repository_id) ON DELETE SET NULL;
