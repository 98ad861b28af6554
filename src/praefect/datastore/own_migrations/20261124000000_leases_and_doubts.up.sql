CREATE TABLE praefect_own.leases (
    incarnation text PRIMARY KEY,
    praefect_name text NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

CREATE TABLE praefect_own.doubts (
    incarnation text NOT NULL,
    number bigint NOT NULL,
    owner text NOT NULL,
    is_taken boolean NOT NULL DEFAULT false,
    repository_id bigint NOT NULL,
    virtual_storage text NOT NULL,
    relative_path text NOT NULL,
    replica_path text NOT NULL,
    method text NOT NULL,
    creates boolean NOT NULL,
    storages text[] NOT NULL,
    generation bigint,
    opened_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (incarnation, number)
);

CREATE INDEX doubts_repository_index ON praefect_own.doubts (repository_id);
