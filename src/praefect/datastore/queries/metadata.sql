-- name: read
-- Reads all that is known of repositories, a row per storage that has a replica or shall have one. Filters that are NULL
-- are left out; only those repositories are kept that are "unavailable" (no replica could be the primary), or
-- "degraded" (some assigned replica could not), or "all".
-- One snapshot, no locks. Explicit assignments count only for configured storages; without any, all of these count. The
-- filters are folded when the statement is planned, which happens anew each time; the one on valid_primaries must be a
-- constant, because PostgreSQL pushes nothing else below a window function.
WITH configured AS (
    SELECT virtual_storage, storage
    FROM unnest(%(virtual_storages)s::text[], %(storages)s::text[]) AS pairs (virtual_storage, storage)
), selected AS (
    SELECT *
    FROM repositories
    WHERE (%(repository_id)s::bigint IS NULL OR repository_id = %(repository_id)s::bigint)
    AND (%(virtual_storage)s::text IS NULL OR virtual_storage = %(virtual_storage)s::text)
), valid AS (
    SELECT repository_id, storage
    FROM valid_primaries
    WHERE %(repository_id)s::bigint IS NULL OR repository_id = %(repository_id)s::bigint
), explicit AS (
    SELECT repository_id, assignments.storage
    FROM selected
    JOIN repository_assignments AS assignments USING (repository_id)
    JOIN configured
        ON configured.virtual_storage = selected.virtual_storage AND configured.storage = assignments.storage
), expected AS (
    SELECT repository_id, storage FROM explicit
    UNION ALL
    SELECT repository_id, configured.storage
    FROM selected
    JOIN configured USING (virtual_storage)
    WHERE NOT EXISTS (SELECT FROM explicit WHERE explicit.repository_id = selected.repository_id)
), existing AS (
    SELECT repository_id, replicas.storage, replicas.generation, replicas.verified_at
    FROM selected
    JOIN storage_repositories AS replicas USING (repository_id)
), joined AS (
    SELECT
        repository_id,
        storage,
        coalesce(existing.generation, -1) AS replica_generation,
        existing.verified_at,
        expected.repository_id IS NOT NULL AS assigned
    FROM existing
    FULL JOIN expected USING (repository_id, storage)
), described AS (
    SELECT
        selected.repository_id,
        selected.virtual_storage,
        selected.relative_path,
        selected.replica_path,
        selected."primary",
        coalesce(selected.generation, -1) AS generation,
        EXISTS (SELECT FROM explicit WHERE explicit.repository_id = selected.repository_id) AS explicitly_assigned,
        joined.storage,
        joined.replica_generation,
        joined.verified_at,
        coalesce(joined.assigned, false) AS assigned,
        healthy.storage IS NOT NULL AS healthy,
        valid.storage IS NOT NULL AS valid_primary
    FROM selected
    LEFT JOIN joined ON joined.repository_id = selected.repository_id
    LEFT JOIN healthy_storages AS healthy
        ON healthy.virtual_storage = selected.virtual_storage AND healthy.storage = joined.storage
    LEFT JOIN valid
        ON valid.repository_id = selected.repository_id AND valid.storage = joined.storage
), judged AS (
    SELECT
        described.*,
        NOT bool_or(valid_primary) OVER repository AS is_unavailable,
        bool_or(assigned AND NOT valid_primary) OVER repository AS is_degraded
    FROM described
    WINDOW repository AS (PARTITION BY repository_id)
)
SELECT *
FROM judged
WHERE CASE %(keep)s::text WHEN 'unavailable' THEN is_unavailable WHEN 'degraded' THEN is_degraded ELSE true END
ORDER BY repository_id, storage;

-- name: count_unavailable
-- Counts, per given virtual storage, the repositories that no replica could be the primary of.
-- One snapshot, no locks.
SELECT virtual_storage, count(repositories.repository_id) AS unavailable
FROM unnest(%(virtual_storages)s::text[]) AS configured (virtual_storage)
LEFT JOIN (
    SELECT repository_id, virtual_storage
    FROM repositories
    WHERE NOT EXISTS (
        SELECT FROM valid_primaries WHERE valid_primaries.repository_id = repositories.repository_id
    )
) AS repositories USING (virtual_storage)
GROUP BY virtual_storage;
