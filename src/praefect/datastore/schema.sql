-- The schema after all migrations, to be read; nothing runs it but the test that it equals what the migrations make.
-- The order of columns matters: other Praefects insert into repository_assignments without naming them.

-- Bookkeeping of migrations. Only ids of migrations that every Praefect knows may stand here.
CREATE TABLE schema_migrations (
    id text PRIMARY KEY,
    applied_at timestamp with time zone
);

-- One row, which the read/write check reads.
CREATE TABLE hello_world (id integer);

----------------------------------------------------------------------------------------------------------------------
-- Repositories and replicas

CREATE TABLE repositories (
    virtual_storage text NOT NULL,
    relative_path text NOT NULL, -- the path clients use
    generation bigint, -- the newest known
    "primary" text,
    repository_id bigserial PRIMARY KEY,
    replica_path text -- the path on the nodes' disks
);

CREATE UNIQUE INDEX repository_lookup_index ON repositories (virtual_storage, relative_path);

CREATE INDEX repository_replica_path_index ON repositories (replica_path, virtual_storage);

-- One row per existing replica. Its virtual_storage and relative_path are copies.
CREATE TABLE storage_repositories (
    virtual_storage text,
    relative_path text,
    storage text,
    generation bigint NOT NULL,
    repository_id bigint NOT NULL REFERENCES repositories (repository_id) ON DELETE CASCADE,
    verified_at timestamp with time zone,
    verification_leased_until timestamp with time zone,
    PRIMARY KEY (virtual_storage, relative_path, storage)
);

CREATE UNIQUE INDEX storage_repositories_new_pkey ON storage_repositories (repository_id, storage);

CREATE INDEX verification_queue
    ON storage_repositories (verified_at NULLS FIRST)
    WHERE verification_leased_until IS NULL;

CREATE INDEX verification_leases
    ON storage_repositories (verification_leased_until)
    WHERE verification_leased_until IS NOT NULL;

-- Storages that shall hold a repository; no rows mean all of them.
CREATE TABLE repository_assignments (
    virtual_storage text,
    relative_path text,
    storage text,
    repository_id bigint NOT NULL REFERENCES repositories (repository_id) ON DELETE CASCADE,
    PRIMARY KEY (virtual_storage, relative_path, storage),
    CONSTRAINT repository_assignments_virtual_storage_relative_path_fkey
        FOREIGN KEY (virtual_storage, relative_path)
        REFERENCES repositories (virtual_storage, relative_path)
        ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE UNIQUE INDEX repository_assignments_new_pkey ON repository_assignments (repository_id, storage);

----------------------------------------------------------------------------------------------------------------------
-- The replication queue; its times have no zone and are in UTC

CREATE TYPE replication_job_state AS ENUM ('ready', 'in_progress', 'completed', 'cancelled', 'failed', 'dead');

CREATE TABLE replication_queue (
    id bigserial PRIMARY KEY,
    state replication_job_state NOT NULL DEFAULT 'ready',
    created_at timestamp without time zone NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at timestamp without time zone,
    attempt integer NOT NULL DEFAULT 3, -- attempts left
    lock_id text, -- VIRTUAL STORAGE|TARGET|RELATIVE PATH
    job jsonb,
    meta jsonb
);

CREATE INDEX virtual_target_on_replication_queue_idx
    ON replication_queue ((job ->> 'virtual_storage'), (job ->> 'target_node_storage'));

CREATE INDEX replication_queue_target_index
    ON replication_queue (
        (job ->> 'virtual_storage'),
        (job ->> 'relative_path'),
        (job ->> 'target_node_storage'),
        (job ->> 'change')
    )
    WHERE state NOT IN ('completed', 'cancelled', 'dead');

CREATE UNIQUE INDEX delete_replica_unique_index
    ON replication_queue ((job ->> 'virtual_storage'), (job ->> 'relative_path'))
    WHERE state NOT IN ('completed', 'cancelled', 'dead')
    AND job ->> 'change' = 'delete_replica';

CREATE TABLE replication_queue_lock (
    id text PRIMARY KEY,
    acquired boolean NOT NULL DEFAULT false
);

-- Who holds a lock, and when it last said so.
CREATE TABLE replication_queue_job_lock (
    job_id bigint REFERENCES replication_queue (id),
    lock_id text REFERENCES replication_queue_lock (id),
    triggered_at timestamp without time zone NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT replication_queue_job_lock_pk PRIMARY KEY (job_id, lock_id)
);

----------------------------------------------------------------------------------------------------------------------
-- Health and primaries

CREATE TABLE node_status (
    id bigserial PRIMARY KEY,
    praefect_name varchar(511) NOT NULL,
    shard_name varchar(255) NOT NULL, -- virtual storage
    node_name varchar(255) NOT NULL, -- storage
    last_contact_attempt_at timestamp with time zone,
    last_seen_active_at timestamp with time zone
);

CREATE UNIQUE INDEX shard_node_names_on_node_status_idx ON node_status (praefect_name, shard_name, node_name);

CREATE INDEX shard_name_on_node_status_idx ON node_status (shard_name, node_name);

-- The storages that at least half of the live Praefects have seen working lately. A Praefect is alive for a virtual
-- storage if it tried to reach any of its storages within the last minute.
CREATE VIEW healthy_storages AS
SELECT seen.shard_name AS virtual_storage, seen.node_name AS storage
FROM node_status AS seen
JOIN (
    SELECT shard_name, count(DISTINCT praefect_name) AS praefects
    FROM node_status
    WHERE last_contact_attempt_at >= now() - interval '60 seconds'
    GROUP BY shard_name
) AS voters ON voters.shard_name = seen.shard_name
WHERE seen.last_seen_active_at >= now() - interval '10 seconds'
GROUP BY seen.shard_name, seen.node_name, voters.praefects
HAVING 2 * count(seen.praefect_name) >= voters.praefects
ORDER BY seen.shard_name, seen.node_name;

-- The storages that could be the primary of a repository: healthy, up to date, about to stay, and assigned unless none
-- of those is.
CREATE VIEW valid_primaries AS
SELECT repository_id, virtual_storage, relative_path, storage
FROM (
    SELECT
        repositories.repository_id,
        repositories.virtual_storage,
        repositories.relative_path,
        replicas.storage,
        assignments.storage IS NOT NULL AS assigned,
        bool_or(assignments.storage IS NOT NULL) OVER (PARTITION BY repositories.repository_id) AS any_assigned
    FROM repositories
    JOIN storage_repositories AS replicas
        ON replicas.repository_id = repositories.repository_id AND replicas.generation = repositories.generation
    JOIN healthy_storages AS healthy
        ON healthy.virtual_storage = repositories.virtual_storage AND healthy.storage = replicas.storage
    LEFT JOIN repository_assignments AS assignments
        ON assignments.repository_id = repositories.repository_id AND assignments.storage = replicas.storage
    WHERE NOT EXISTS (
        SELECT FROM replication_queue
        WHERE state NOT IN ('completed', 'dead', 'cancelled')
        AND job ->> 'change' = 'delete_replica'
        AND (job ->> 'repository_id')::bigint = repositories.repository_id
        AND job ->> 'target_node_storage' = replicas.storage
    )
) AS candidates
WHERE assigned OR NOT any_assigned;

-- Used by nobody but older versions of valid_primaries.
CREATE VIEW repository_generations AS
SELECT virtual_storage, relative_path, max(generation) AS generation
FROM storage_repositories
GROUP BY virtual_storage, relative_path;

----------------------------------------------------------------------------------------------------------------------
-- Notifications

-- Of updates only those are told that change a generation, or the path (a row without a counterpart).
CREATE FUNCTION notify_on_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes jsonb;
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        SELECT jsonb_agg(
            jsonb_build_object('virtual_storage', virtual_storage, 'relative_paths', paths) ORDER BY virtual_storage
        )
        INTO changes
        FROM (
            SELECT virtual_storage, jsonb_agg(DISTINCT relative_path) AS paths
            FROM new AS after
            GROUP BY virtual_storage
        ) AS per_virtual_storage;
    WHEN 'UPDATE' THEN
        SELECT jsonb_agg(
            jsonb_build_object('virtual_storage', virtual_storage, 'relative_paths', paths) ORDER BY virtual_storage
        )
        INTO changes
        FROM (
            SELECT virtual_storage, jsonb_agg(DISTINCT relative_path) AS paths
            FROM new AS after
            FULL JOIN old AS before USING (virtual_storage, relative_path)
            WHERE coalesce(after.generation, -1) <> coalesce(before.generation, -1)
            GROUP BY virtual_storage
        ) AS per_virtual_storage;
    WHEN 'DELETE' THEN
        SELECT jsonb_agg(
            jsonb_build_object('virtual_storage', virtual_storage, 'relative_paths', paths) ORDER BY virtual_storage
        )
        INTO changes
        FROM (
            SELECT virtual_storage, jsonb_agg(DISTINCT relative_path) AS paths
            FROM old
            GROUP BY virtual_storage
        ) AS per_virtual_storage;
    END CASE;
    IF changes IS NOT NULL THEN
        PERFORM pg_notify(TG_ARGV[TG_NARGS - 1], changes::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER notify_on_delete
    AFTER DELETE ON repositories
    REFERENCING OLD TABLE AS old
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('repositories_updates');

CREATE TRIGGER notify_on_insert
    AFTER INSERT ON storage_repositories
    REFERENCING NEW TABLE AS new
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('storage_repositories_updates');

CREATE TRIGGER notify_on_update
    AFTER UPDATE ON storage_repositories
    REFERENCING OLD TABLE AS old NEW TABLE AS new
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('storage_repositories_updates');

CREATE TRIGGER notify_on_delete
    AFTER DELETE ON storage_repositories
    REFERENCING OLD TABLE AS old
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('storage_repositories_updates');

----------------------------------------------------------------------------------------------------------------------
-- The search for unknown repositories; its times are in the session's zone

CREATE TABLE storage_cleanups (
    virtual_storage text NOT NULL,
    storage text NOT NULL,
    last_run timestamp without time zone,
    triggered_at timestamp without time zone,
    PRIMARY KEY (virtual_storage, storage)
);

----------------------------------------------------------------------------------------------------------------------
-- Leases of writes, used by others only

CREATE TABLE repository_reference_write_locks (
    lock_id text PRIMARY KEY,
    holder_txn_id bigint NOT NULL,
    expired_at timestamp with time zone NOT NULL
);

CREATE INDEX repository_reference_write_locks_expired_at_idx ON repository_reference_write_locks (expired_at);

CREATE FUNCTION notify_on_write_lock_release() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('repository_reference_write_lock_releases', OLD.lock_id);
    RETURN OLD;
END
$$;

CREATE TRIGGER notify_on_write_lock_delete
    AFTER DELETE ON repository_reference_write_locks
    FOR EACH ROW EXECUTE FUNCTION notify_on_write_lock_release();

----------------------------------------------------------------------------------------------------------------------
-- Left over from removed ways of election and from an importer

CREATE TABLE shard_primaries (
    id bigserial PRIMARY KEY,
    shard_name varchar(255) NOT NULL,
    node_name varchar(255) NOT NULL,
    elected_by_praefect varchar(255) NOT NULL,
    elected_at timestamp with time zone NOT NULL,
    read_only boolean NOT NULL DEFAULT false,
    demoted boolean NOT NULL DEFAULT false,
    previous_writable_primary text
);

CREATE UNIQUE INDEX shard_name_on_shard_primaries_idx ON shard_primaries (shard_name);

CREATE TABLE virtual_storages (
    virtual_storage text PRIMARY KEY,
    repositories_imported boolean NOT NULL DEFAULT false
);
