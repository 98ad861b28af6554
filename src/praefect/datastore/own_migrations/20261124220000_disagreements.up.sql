CREATE TABLE praefect_own.disagreements (
    repository_id bigint PRIMARY KEY,
    virtual_storage text NOT NULL,
    relative_path text NOT NULL,
    storages text[] NOT NULL,
    found_at timestamp with time zone NOT NULL DEFAULT now(),
    looked_at timestamp with time zone NOT NULL DEFAULT now()
);
