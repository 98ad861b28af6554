-- name: try_lock
-- Tries to keep other reconcilers out until the transaction ends, without waiting.
-- Advisory lock 1, shared with other Praefects.
SELECT pg_try_advisory_xact_lock(1) AS is_obtained;

-- name: schedule
-- Queues an update for every healthy storage that shall hold a repository and is behind, and for each repository at most
-- one removal of a replica that nobody assigned and that no other replica needs. Lists the jobs. Workers take jobs in the
-- order they were queued: those furthest behind come first, of equal ones the repository with the most writes.
-- Runs in a transaction that has obtained the advisory lock, so that its snapshot shows what the holder before it queued.
-- The removal is safe in the snapshot: every assigned storage has a replica, and every other replica is at least as new;
-- whoever works on the job later changes nothing about that, because replicas do not go back. A removal that somebody
-- else queued since the snapshot violates delete_replica_unique_index and is left out.
WITH healthy AS (
    SELECT virtual_storage, storage
    FROM unnest(%(virtual_storages)s::text[], %(storages)s::text[]) AS pairs (virtual_storage, storage)
), unfinished AS (
    SELECT
        (job ->> 'repository_id')::bigint AS repository_id,
        job ->> 'change' AS change,
        job ->> 'source_node_storage' AS source,
        job ->> 'target_node_storage' AS target
    FROM replication_queue
    WHERE state NOT IN ('completed', 'dead')
), updates AS (
    SELECT DISTINCT ON (repositories.repository_id, targets.storage)
        repositories.repository_id,
        repositories.virtual_storage,
        repositories.relative_path,
        'update' AS change,
        sources.storage AS source,
        targets.storage AS target,
        repositories.generation - coalesce(present.generation, -1) AS lag,
        repositories.generation AS writes
    FROM repositories
    JOIN healthy AS targets ON targets.virtual_storage = repositories.virtual_storage
    LEFT JOIN storage_repositories AS present
        ON present.repository_id = repositories.repository_id AND present.storage = targets.storage
    JOIN storage_repositories AS sources
        ON sources.repository_id = repositories.repository_id
        AND sources.relative_path = repositories.relative_path
        AND sources.generation = repositories.generation
    JOIN healthy AS healthy_sources
        ON healthy_sources.virtual_storage = repositories.virtual_storage AND healthy_sources.storage = sources.storage
    WHERE present.generation IS DISTINCT FROM repositories.generation
    AND (
        NOT EXISTS (
            SELECT FROM repository_assignments AS assignments
            WHERE assignments.repository_id = repositories.repository_id
        )
        OR EXISTS (
            SELECT FROM repository_assignments AS assignments
            WHERE assignments.repository_id = repositories.repository_id AND assignments.storage = targets.storage
        )
    )
    AND NOT EXISTS (
        SELECT FROM unfinished
        WHERE unfinished.repository_id = repositories.repository_id
        AND unfinished.change = 'update'
        AND unfinished.target = targets.storage
    )
    AND NOT EXISTS (
        SELECT FROM unfinished
        WHERE unfinished.repository_id = repositories.repository_id
        AND unfinished.change = 'delete_replica'
        AND unfinished.target = sources.storage
    )
    ORDER BY repositories.repository_id, targets.storage, random()
), removals AS (
    SELECT DISTINCT ON (repositories.repository_id)
        repositories.repository_id,
        repositories.virtual_storage,
        repositories.relative_path,
        'delete_replica' AS change,
        NULL AS source,
        surplus.storage AS target,
        0 AS lag,
        0 AS writes
    FROM repositories
    JOIN storage_repositories AS surplus ON surplus.repository_id = repositories.repository_id
    JOIN healthy ON healthy.virtual_storage = repositories.virtual_storage AND healthy.storage = surplus.storage
    WHERE EXISTS (
        SELECT FROM repository_assignments AS assignments
        WHERE assignments.repository_id = repositories.repository_id
    )
    AND NOT EXISTS (
        SELECT FROM repository_assignments AS assignments
        WHERE assignments.repository_id = repositories.repository_id AND assignments.storage = surplus.storage
    )
    AND NOT EXISTS (
        SELECT FROM storage_repositories AS others
        WHERE others.repository_id = repositories.repository_id AND others.generation < surplus.generation
    )
    AND NOT EXISTS (
        SELECT FROM repository_assignments AS assignments
        WHERE assignments.repository_id = repositories.repository_id
        AND NOT EXISTS (
            SELECT FROM storage_repositories AS assigned
            WHERE assigned.repository_id = assignments.repository_id AND assigned.storage = assignments.storage
        )
    )
    AND NOT EXISTS (
        SELECT FROM unfinished
        WHERE unfinished.repository_id = repositories.repository_id
        AND (unfinished.change = 'delete_replica' OR surplus.storage IN (unfinished.source, unfinished.target))
    )
    ORDER BY repositories.repository_id, random()
), jobs AS (
    SELECT *, virtual_storage || '|' || target || '|' || relative_path AS lock_id
    FROM (SELECT * FROM updates UNION ALL SELECT * FROM removals) AS wanted
), locks AS (
    INSERT INTO replication_queue_lock (id)
    SELECT DISTINCT lock_id FROM jobs ORDER BY lock_id
    ON CONFLICT (id) DO UPDATE SET id = excluded.id
), inserted AS (
    INSERT INTO replication_queue (lock_id, job, meta)
    SELECT
        lock_id,
        jsonb_build_object(
            'repository_id', repository_id,
            'change', change,
            'virtual_storage', virtual_storage,
            'relative_path', relative_path,
            'source_node_storage', source,
            'target_node_storage', target
        ),
        jsonb_build_object('correlation_id', encode(convert_to(random()::text, 'UTF8'), 'base64'))
    FROM jobs
    ORDER BY lag DESC, writes DESC, repository_id
    ON CONFLICT DO NOTHING
    RETURNING id, job, meta
)
SELECT
    meta ->> 'correlation_id' AS correlation_id,
    (job ->> 'repository_id')::bigint AS repository_id,
    job ->> 'change' AS change,
    job ->> 'virtual_storage' AS virtual_storage,
    job ->> 'relative_path' AS relative_path,
    job ->> 'source_node_storage' AS source,
    job ->> 'target_node_storage' AS target
FROM inserted
ORDER BY id;
