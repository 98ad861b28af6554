-- name: acquire
-- Leases replicas on healthy storages that are due to be verified, never verified ones first.
-- Rows are locked, and those that others have locked skipped; a lease that was taken since the snapshot is seen, because
-- the condition is looked at again in the locked row's newest version.
WITH healthy AS (
    SELECT virtual_storage, storage
    FROM unnest(%(virtual_storages)s::text[], %(storages)s::text[]) AS pairs (virtual_storage, storage)
), due AS (
    SELECT
        replicas.repository_id,
        replicas.storage,
        repositories.virtual_storage,
        repositories.relative_path,
        repositories.replica_path
    FROM storage_repositories AS replicas
    JOIN repositories ON repositories.repository_id = replicas.repository_id
    JOIN healthy ON healthy.virtual_storage = repositories.virtual_storage AND healthy.storage = replicas.storage
    WHERE replicas.verification_leased_until IS NULL
    AND (replicas.verified_at IS NULL OR replicas.verified_at < now() - %(interval)s::interval)
    ORDER BY replicas.verified_at NULLS FIRST
    LIMIT %(size)s
    FOR NO KEY UPDATE OF replicas SKIP LOCKED
)
UPDATE storage_repositories AS replicas
SET verification_leased_until = now() + %(lease)s::interval
FROM due
WHERE replicas.repository_id = due.repository_id AND replicas.storage = due.storage
RETURNING due.repository_id, due.storage, due.virtual_storage, due.relative_path, due.replica_path;

-- name: complete
-- Records results: gives leases back, notes when replicas were verified, deletes the records of those to be removed.
-- The repositories' rows are locked in order first, so that no election or write counts on a replica that goes. Results
-- of repositories that are gone are dropped. Rows to be deleted are not updated: one statement must not do both.
WITH results AS (
    SELECT repository_id, storage, is_verified, is_removed
    FROM unnest(%(ids)s::bigint[], %(storages)s::text[], %(verified)s::boolean[], %(removed)s::boolean[])
        AS results (repository_id, storage, is_verified, is_removed)
), locked AS (
    SELECT repository_id
    FROM repositories
    WHERE repository_id IN (SELECT repository_id FROM results)
    ORDER BY repository_id
    FOR UPDATE
), removed AS (
    DELETE FROM storage_repositories AS replicas
    USING results
    JOIN locked USING (repository_id)
    WHERE results.is_removed
    AND replicas.repository_id = results.repository_id
    AND replicas.storage = results.storage
)
UPDATE storage_repositories AS replicas
SET
    verification_leased_until = NULL,
    verified_at = CASE WHEN results.is_verified THEN now() ELSE replicas.verified_at END
FROM results
JOIN locked USING (repository_id)
WHERE NOT results.is_removed
AND replicas.repository_id = results.repository_id
AND replicas.storage = results.storage;

-- name: release_expired
-- Gives back some leases that ran out a while ago.
-- Rows are locked, and those that others have locked skipped.
WITH expired AS (
    SELECT replicas.repository_id, replicas.storage
    FROM storage_repositories AS replicas
    WHERE replicas.verification_leased_until < now() - %(patience)s::interval
    LIMIT %(size)s
    FOR NO KEY UPDATE SKIP LOCKED
), released AS (
    UPDATE storage_repositories AS replicas
    SET verification_leased_until = NULL
    FROM expired
    WHERE replicas.repository_id = expired.repository_id AND replicas.storage = expired.storage
    RETURNING replicas.repository_id, replicas.storage
)
SELECT repository_id, storage, virtual_storage, relative_path, replica_path
FROM released
JOIN repositories USING (repository_id);

-- name: mark_repository
-- Forgets when the replicas of a repository were verified.
-- Locks the rows it changes.
UPDATE storage_repositories
SET verified_at = NULL
WHERE repository_id = %(repository_id)s AND verified_at IS NOT NULL;

-- name: storages_of
-- Lists the storages on which a virtual storage has replicas.
-- One snapshot, no locks.
SELECT DISTINCT replicas.storage
FROM storage_repositories AS replicas
JOIN repositories ON repositories.repository_id = replicas.repository_id
WHERE repositories.virtual_storage = %(virtual_storage)s
ORDER BY replicas.storage;

-- name: mark_storage
-- Forgets when the replicas on a storage were verified.
-- Locks the rows it changes. Of each repository it touches one replica: a statement that touched two of different
-- generations would announce the repository as changed, and fail where the names of all those exceed 8000 bytes.
UPDATE storage_repositories AS replicas
SET verified_at = NULL
FROM repositories
WHERE repositories.repository_id = replicas.repository_id
AND repositories.virtual_storage = %(virtual_storage)s
AND replicas.storage = %(storage)s
AND replicas.verified_at IS NOT NULL;

-- name: count_due
-- Counts the replicas that were never verified, or too long ago, by virtual storage and storage.
-- One snapshot, no locks.
SELECT
    repositories.virtual_storage,
    replicas.storage,
    count(*) FILTER (WHERE replicas.verified_at IS NULL) AS unverified,
    count(*) FILTER (WHERE replicas.verified_at < now() - %(interval)s::interval) AS expired
FROM storage_repositories AS replicas
JOIN repositories ON repositories.repository_id = replicas.repository_id
GROUP BY repositories.virtual_storage, replicas.storage;
