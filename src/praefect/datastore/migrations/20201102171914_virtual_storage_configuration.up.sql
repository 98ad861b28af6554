CREATE TABLE virtual_storages (
    virtual_storage text PRIMARY KEY,
    repositories_imported boolean NOT NULL DEFAULT false
);
