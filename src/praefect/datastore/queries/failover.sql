-- name: list_states
-- Lists what is known of repositories on every configured storage: a row per repository and storage, a page of
-- repositories whose paths come after a given one; all of them, or the one with a given path.
-- One snapshot per page, no locks: what a page says may be overtaken, therefore moves compare.
WITH page AS (
    SELECT repository_id, virtual_storage, relative_path, "primary", coalesce(generation, -1) AS generation
    FROM repositories
    WHERE virtual_storage = %(virtual_storage)s
    AND relative_path > %(after)s
    AND (%(relative_path)s::text IS NULL OR relative_path = %(relative_path)s)
    ORDER BY relative_path
    LIMIT %(size)s
), leaving AS (
    SELECT DISTINCT (job ->> 'repository_id')::bigint AS repository_id, job ->> 'target_node_storage' AS storage
    FROM replication_queue
    WHERE state NOT IN ('completed', 'dead', 'cancelled') AND job ->> 'change' = 'delete_replica'
)
SELECT
    page.repository_id,
    page.relative_path,
    page."primary",
    page.generation,
    configured.storage,
    coalesce(replicas.generation, -1) AS replica_generation,
    healthy.storage IS NOT NULL AS is_healthy,
    assignments.storage IS NOT NULL AS is_assigned,
    leaving.storage IS NOT NULL AS is_leaving
FROM page
CROSS JOIN unnest(%(storages)s::text[]) WITH ORDINALITY AS configured (storage, position)
LEFT JOIN storage_repositories AS replicas
    ON replicas.repository_id = page.repository_id AND replicas.storage = configured.storage
LEFT JOIN healthy_storages AS healthy
    ON healthy.virtual_storage = page.virtual_storage AND healthy.storage = configured.storage
LEFT JOIN repository_assignments AS assignments
    ON assignments.repository_id = page.repository_id AND assignments.storage = configured.storage
LEFT JOIN leaving ON leaving.repository_id = page.repository_id AND leaving.storage = configured.storage
ORDER BY page.relative_path, configured.position;

-- name: move
-- Makes a storage the primary if the stored one is still the expected one and the storage may be elected. No row if not.
-- Who raises the repository's generation locks its row. If this statement waits for that, it looks at the new row again:
-- its generation then differs from that of the target's replica, which is read from the older snapshot, and nothing
-- moves, be the target current or not. So no outdated replica becomes primary; the caller may look and try again.
UPDATE repositories
SET "primary" = %(target)s
WHERE repository_id = %(repository_id)s
AND "primary" IS NOT DISTINCT FROM %(expected)s
AND generation = (
    SELECT generation FROM storage_repositories
    WHERE repository_id = %(repository_id)s AND storage = %(target)s
)
AND EXISTS (
    SELECT FROM valid_primaries
    WHERE valid_primaries.repository_id = %(repository_id)s AND storage = %(target)s
)
RETURNING repository_id;

-- name: move_with_loss
-- Makes a storage the primary and its replica the latest, if primary and both generations are still as the operator was
-- told; every other replica is behind then. No row if not.
-- The repository's row is locked first, as by all who change generations, and then the replica's: both are looked at
-- again once they are ours, so that exactly the loss that was told is taken.
WITH repository AS (
    SELECT repository_id, virtual_storage
    FROM repositories
    WHERE repository_id = %(repository_id)s
    AND "primary" IS NOT DISTINCT FROM %(expected)s
    AND generation = %(generation)s
    AND EXISTS (
        SELECT FROM healthy_storages
        WHERE healthy_storages.virtual_storage = repositories.virtual_storage
        AND healthy_storages.storage = %(target)s
    )
    FOR UPDATE
), replica AS (
    SELECT replicas.repository_id, replicas.storage
    FROM repository
    JOIN storage_repositories AS replicas USING (repository_id)
    WHERE replicas.storage = %(target)s AND replicas.generation = %(target_generation)s
    FOR UPDATE OF replicas
), moved AS (
    UPDATE repositories
    SET "primary" = %(target)s, generation = repositories.generation + 1
    FROM replica
    WHERE repositories.repository_id = replica.repository_id
    RETURNING repositories.repository_id, repositories.generation
)
UPDATE storage_repositories
SET generation = moved.generation
FROM moved
WHERE storage_repositories.repository_id = moved.repository_id AND storage = %(target)s
RETURNING storage_repositories.repository_id;
