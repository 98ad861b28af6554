CREATE TABLE repository_assignments (
    virtual_storage text,
    relative_path text,
    storage text,
    PRIMARY KEY (virtual_storage, relative_path, storage),
    CONSTRAINT repository_assignments_virtual_storage_relative_path_fkey
        FOREIGN KEY (virtual_storage, relative_path)
        REFERENCES repositories (virtual_storage, relative_path)
        ON UPDATE CASCADE ON DELETE CASCADE
);
