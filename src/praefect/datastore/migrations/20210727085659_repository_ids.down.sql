ALTER TABLE storage_repositories DROP COLUMN repository_id;

ALTER TABLE repository_assignments
    DROP COLUMN repository_id,
    DROP CONSTRAINT repository_assignments_virtual_storage_relative_path_fkey;

ALTER TABLE repositories
    DROP COLUMN repository_id,
    ADD PRIMARY KEY (virtual_storage, relative_path);

DROP INDEX repository_lookup_index;

ALTER TABLE repository_assignments
    ADD CONSTRAINT repository_assignments_virtual_storage_relative_path_fkey
        FOREIGN KEY (virtual_storage, relative_path)
        REFERENCES repositories (virtual_storage, relative_path)
        ON UPDATE CASCADE ON DELETE CASCADE;
