CREATE TABLE storage_cleanups (
    virtual_storage text NOT NULL,
    storage text NOT NULL,
    last_run timestamp without time zone,
    triggered_at timestamp without time zone,
    PRIMARY KEY (virtual_storage, storage)
);
