-- name: get
-- Lists the configured storages that a repository is assigned to.
-- One snapshot, no locks.
SELECT storage
FROM repository_assignments
WHERE repository_id = %(repository_id)s AND storage = ANY (%(storages)s::text[]);

-- name: lock
-- Locks a repository's row, so that the next statement of the transaction sees all that others assigned before.
SELECT repository_id
FROM repositories
WHERE virtual_storage = %(virtual_storage)s AND relative_path = %(relative_path)s
FOR UPDATE;

-- name: set_replication_factor
-- Assigns or releases configured storages until there are as many as wanted; lists the result. The primary comes first
-- and never goes, others are random. No row if there is no repository.
-- Runs in a transaction that has locked the repository's row: of two at once the later counts what the earlier left.
WITH repository AS (
    SELECT repository_id, virtual_storage, relative_path, "primary"
    FROM repositories
    WHERE virtual_storage = %(virtual_storage)s AND relative_path = %(relative_path)s
), existing AS (
    SELECT assignments.storage
    FROM repository
    JOIN repository_assignments AS assignments USING (repository_id)
    WHERE assignments.storage = ANY (%(storages)s::text[])
), created AS (
    INSERT INTO repository_assignments (repository_id, virtual_storage, relative_path, storage)
    SELECT repository_id, virtual_storage, relative_path, storage
    FROM repository
    CROSS JOIN unnest(%(storages)s::text[]) AS configured (storage)
    WHERE storage NOT IN (SELECT storage FROM existing)
    ORDER BY coalesce(storage = "primary", false) DESC, random()
    LIMIT greatest(%(factor)s::bigint - (SELECT count(*) FROM existing), 0)
    RETURNING storage
), removed AS (
    DELETE FROM repository_assignments AS assignments
    USING (
        SELECT repository_id, storage
        FROM repository
        CROSS JOIN existing
        WHERE storage <> "primary"
        ORDER BY random()
        LIMIT greatest((SELECT count(*) FROM existing) - %(factor)s::bigint, 0)
    ) AS surplus
    WHERE assignments.repository_id = surplus.repository_id AND assignments.storage = surplus.storage
    RETURNING assignments.storage
)
SELECT storage FROM existing WHERE storage NOT IN (SELECT storage FROM removed)
UNION
SELECT storage FROM created
ORDER BY storage;
