CREATE TABLE repositories (
    virtual_storage text,
    relative_path text,
    generation bigint NOT NULL,
    PRIMARY KEY (virtual_storage, relative_path)
);

CREATE TABLE storage_repositories (
    virtual_storage text,
    relative_path text,
    storage text,
    generation bigint NOT NULL,
    PRIMARY KEY (virtual_storage, relative_path, storage)
);
