-- name: get_id
-- Finds a repository's id.
-- One snapshot, no locks.
SELECT repository_id
FROM repositories
WHERE virtual_storage = %(virtual_storage)s AND relative_path = %(relative_path)s;

-- name: get_replica_path
-- Finds where a repository lies on the nodes' disks.
-- One snapshot, no locks.
SELECT replica_path FROM repositories WHERE repository_id = %(repository_id)s;

-- name: consistent_storages_by_id
-- Finds the storages whose replica is at the repository's generation; no row if there is none.
-- One snapshot, no locks: path and storages belong together.
SELECT replica_path, array_agg(storage) AS storages
FROM repositories
JOIN storage_repositories USING (repository_id, relative_path, generation)
WHERE repository_id = %(repository_id)s
GROUP BY replica_path;

-- name: consistent_storages_by_path
-- As by id.
-- One snapshot, no locks.
SELECT replica_path, array_agg(storage) AS storages
FROM repositories
JOIN storage_repositories USING (repository_id, relative_path, generation)
WHERE repositories.virtual_storage = %(virtual_storage)s AND relative_path = %(relative_path)s
GROUP BY replica_path;

-- name: reserve_id
-- Takes a number for a new repository; no row if the path is taken.
-- No locks: two creators of one path both get numbers, and the loser fails when it records the repository. Numbers of
-- failed creations are lost.
SELECT nextval('repositories_repository_id_seq') AS repository_id
WHERE NOT EXISTS (
    SELECT FROM repositories
    WHERE virtual_storage = %(virtual_storage)s AND relative_path = %(relative_path)s
);

-- name: create
-- Records a repository, its replicas and, if asked, its assignments.
-- All or nothing. Foreign keys hold because they are checked when the statement ends; of two creators one fails on a
-- unique index of repositories or of storage_repositories.
WITH created AS (
    INSERT INTO repositories (repository_id, virtual_storage, relative_path, replica_path, generation, "primary")
    VALUES (
        %(repository_id)s::bigint, %(virtual_storage)s, %(relative_path)s, %(replica_path)s, 0, %(primary)s::text
    )
), assigned AS (
    INSERT INTO repository_assignments (repository_id, virtual_storage, relative_path, storage)
    SELECT DISTINCT %(repository_id)s::bigint, %(virtual_storage)s::text, %(relative_path)s::text, storage
    FROM unnest(%(assigned)s::text[]) AS storages (storage)
)
INSERT INTO storage_repositories (repository_id, virtual_storage, relative_path, storage, generation)
SELECT DISTINCT %(repository_id)s::bigint, %(virtual_storage)s::text, %(relative_path)s::text, storage, 0
FROM unnest(%(updated)s::text[]) AS storages (storage);

-- name: exists
-- Tells whether a repository is recorded.
-- One snapshot, no locks.
SELECT EXISTS (
    SELECT FROM repositories
    WHERE virtual_storage = %(virtual_storage)s AND relative_path = %(relative_path)s
) AS found;

-- name: delete
-- Deletes a repository and with it its replicas and assignments; says where replicas were.
-- The replicas are read from the statement's snapshot, in which the cascade has not happened yet. A replica that is
-- recorded between snapshot and deletion is missing from the answer, as it would be had it been recorded later.
WITH deleted AS (
    DELETE FROM repositories
    WHERE virtual_storage = %(virtual_storage)s AND relative_path = %(relative_path)s
    RETURNING repository_id, replica_path
)
SELECT
    deleted.replica_path,
    coalesce(array_agg(replicas.storage ORDER BY replicas.storage) FILTER (WHERE replicas.storage IS NOT NULL), '{}')
        AS storages
FROM deleted
LEFT JOIN storage_repositories AS replicas USING (repository_id)
GROUP BY deleted.replica_path;

-- name: list_paths
-- Lists paths of a virtual storage in order, a page that begins after a given path.
-- Each page is its own snapshot: what is created or deleted between pages may be missed, nothing is seen twice.
SELECT relative_path
FROM repositories
WHERE virtual_storage = %(virtual_storage)s AND relative_path > %(after)s
ORDER BY relative_path
LIMIT %(size)s;

-- name: increment_generation
-- Adds one to the generations of a repository and of those given replicas that are at it.
-- The rows are locked in one join, which waits for a competitor and then looks at what that one has committed; so two
-- increments add up, and a replica that fell behind meanwhile is not counted as updated.
WITH newest AS (
    SELECT repositories.repository_id, replicas.storage
    FROM repositories
    JOIN storage_repositories AS replicas USING (repository_id, generation)
    WHERE repositories.repository_id = %(repository_id)s AND replicas.storage = ANY (%(storages)s::text[])
    FOR UPDATE
), updated_replicas AS (
    UPDATE storage_repositories AS replicas
    SET generation = replicas.generation + 1
    FROM newest
    WHERE replicas.repository_id = newest.repository_id AND replicas.storage = newest.storage
    RETURNING replicas.repository_id
), updated_repository AS (
    UPDATE repositories
    SET generation = repositories.generation + 1
    FROM (SELECT DISTINCT repository_id FROM updated_replicas) AS updated
    WHERE repositories.repository_id = updated.repository_id
)
SELECT
    EXISTS (SELECT FROM repositories WHERE repository_id = %(repository_id)s) AS repository_exists,
    EXISTS (SELECT FROM updated_replicas) AS is_updated;

-- name: get_generations
-- Reads the generations of two replicas of one repository; NULL for one that is not recorded.
-- One snapshot, no locks: the two are compared with each other.
SELECT
    (
        SELECT generation FROM storage_repositories
        WHERE repository_id = %(repository_id)s AND storage = %(source)s
    ) AS source_generation,
    (
        SELECT generation FROM storage_repositories
        WHERE repository_id = %(repository_id)s AND storage = %(target)s
    ) AS target_generation;

-- name: set_generation
-- Records what a replica holds after it was copied; raises the repository's generation if that is behind.
-- The repository's row is locked by the update or, where there is nothing to raise, read as it is; nothing happens if
-- it is gone.
WITH repository AS (
    SELECT repository_id, virtual_storage
    FROM repositories
    WHERE repository_id = %(repository_id)s
    FOR UPDATE
), raised AS (
    UPDATE repositories
    SET generation = %(generation)s::bigint
    WHERE repository_id IN (SELECT repository_id FROM repository)
    AND coalesce(generation, -1) < %(generation)s::bigint
)
INSERT INTO storage_repositories (repository_id, virtual_storage, relative_path, storage, generation)
SELECT repository_id, virtual_storage, %(relative_path)s::text, %(storage)s::text, %(generation)s::bigint
FROM repository
ON CONFLICT (repository_id, storage) DO UPDATE
SET relative_path = excluded.relative_path, generation = excluded.generation;

-- name: set_authoritative
-- Makes one replica the newest, recorded or not; every other one is behind then. No row if there is no repository.
-- The update locks the repository's row; two at once add up and the later wins.
WITH repository AS (
    UPDATE repositories
    SET generation = coalesce(generation, -1) + 1
    WHERE virtual_storage = %(virtual_storage)s AND relative_path = %(relative_path)s
    RETURNING repository_id, virtual_storage, relative_path, generation
)
INSERT INTO storage_repositories (repository_id, virtual_storage, relative_path, storage, generation)
SELECT repository_id, virtual_storage, relative_path, %(storage)s::text, generation
FROM repository
ON CONFLICT (virtual_storage, relative_path, storage) DO UPDATE
SET repository_id = excluded.repository_id, generation = excluded.generation
RETURNING repository_id;

-- name: delete_replica
-- Deletes the record of one replica.
-- Locks that row.
DELETE FROM storage_repositories WHERE repository_id = %(repository_id)s AND storage = %(storage)s;

-- name: lock
-- Locks a repository's row, so that the next statement of the transaction sees all that others did to it before.
SELECT repository_id FROM repositories WHERE repository_id = %(repository_id)s FOR UPDATE;

-- name: delete_invalid
-- Deletes the record of a replica that is no repository, and the repository's with the last one.
-- Runs in a transaction that has locked the repository's row: whoever records or removes a replica in this way waits for
-- that row, so that the replicas counted here are those there are.
WITH deleted_replica AS (
    DELETE FROM storage_repositories
    WHERE repository_id = %(repository_id)s AND storage = %(storage)s
)
DELETE FROM repositories
WHERE repository_id = %(repository_id)s
AND NOT EXISTS (
    SELECT FROM storage_repositories
    WHERE repository_id = %(repository_id)s AND storage <> %(storage)s
);

-- name: count_behind
-- Counts the replicas that are behind their repository, by virtual storage and storage.
-- One snapshot, no locks.
SELECT repositories.virtual_storage, replicas.storage, count(*) AS behind
FROM repositories
JOIN storage_repositories AS replicas USING (repository_id)
WHERE replicas.generation < repositories.generation
GROUP BY repositories.virtual_storage, replicas.storage;

-- name: list_primaries
-- Lists the storages that are the stored primary of some repository.
-- One snapshot, no locks.
SELECT DISTINCT "primary"
FROM repositories
WHERE virtual_storage = %(virtual_storage)s AND "primary" IS NOT NULL
ORDER BY "primary";

-- name: relative_paths_of
-- Translates paths on disks into the paths of clients; unknown ones are left out.
-- One snapshot, no locks.
SELECT replica_path, relative_path
FROM repositories
WHERE virtual_storage = %(virtual_storage)s AND replica_path = ANY (%(replica_paths)s::text[]);
