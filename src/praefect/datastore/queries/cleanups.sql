-- name: populate
-- Makes sure that each storage has a row.
-- Rows that others have made meanwhile are left alone.
INSERT INTO storage_cleanups (virtual_storage, storage)
SELECT virtual_storage, storage
FROM unnest(%(virtual_storages)s::text[], %(storages)s::text[]) AS pairs (virtual_storage, storage)
ON CONFLICT (virtual_storage, storage) DO NOTHING;

-- name: acquire
-- Takes the storage that was looked at longest ago, if one is due and nobody looks at it.
-- The row is locked, and one that another has locked skipped. The times of this table are in the session's time zone,
-- which all Praefects on one database share.
UPDATE storage_cleanups AS cleanups
SET triggered_at = now()
FROM (
    SELECT virtual_storage, storage
    FROM storage_cleanups
    WHERE (last_run IS NULL OR last_run <= now() - %(run_interval)s::interval)
    AND (triggered_at IS NULL OR triggered_at <= now() - %(liveness)s::interval)
    ORDER BY last_run NULLS FIRST, virtual_storage, storage
    LIMIT 1
    FOR UPDATE SKIP LOCKED
) AS due
WHERE cleanups.virtual_storage = due.virtual_storage AND cleanups.storage = due.storage
RETURNING cleanups.virtual_storage, cleanups.storage;

-- name: refresh
-- Says that a storage is still being looked at.
-- Locks the row.
UPDATE storage_cleanups
SET triggered_at = now()
WHERE virtual_storage = %(virtual_storage)s AND storage = %(storage)s;

-- name: release
-- Says that a storage has been looked at.
-- Locks the row.
UPDATE storage_cleanups
SET last_run = now(), triggered_at = NULL
WHERE virtual_storage = %(virtual_storage)s AND storage = %(storage)s;

-- name: find_unknown
-- Lists those of the given paths on disks that are no recorded replica of a storage, in the given order.
-- One snapshot, no locks.
SELECT replica_path
FROM unnest(%(replica_paths)s::text[]) WITH ORDINALITY AS given (replica_path, position)
WHERE NOT EXISTS (
    SELECT FROM repositories
    JOIN storage_repositories AS replicas ON replicas.repository_id = repositories.repository_id
    WHERE repositories.virtual_storage = %(virtual_storage)s
    AND repositories.replica_path = given.replica_path
    AND replicas.storage = %(storage)s
)
ORDER BY position;
