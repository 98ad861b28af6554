CREATE OR REPLACE VIEW valid_primaries AS
WITH candidates AS (
    SELECT
        replicas.virtual_storage,
        replicas.relative_path,
        replicas.storage,
        EXISTS (
            SELECT FROM repository_assignments AS assignments
            WHERE assignments.virtual_storage = replicas.virtual_storage
            AND assignments.relative_path = replicas.relative_path
            AND assignments.storage = replicas.storage
        ) AS assigned
    FROM storage_repositories AS replicas
    JOIN repository_generations USING (virtual_storage, relative_path, generation)
    JOIN healthy_storages AS healthy
        ON healthy.virtual_storage = replicas.virtual_storage AND healthy.storage = replicas.storage
    WHERE NOT EXISTS (
        SELECT FROM replication_queue
        WHERE state NOT IN ('completed', 'dead', 'cancelled')
        AND job ->> 'change' = 'delete_replica'
        AND job ->> 'virtual_storage' = replicas.virtual_storage
        AND job ->> 'relative_path' = replicas.relative_path
        AND job ->> 'target_node_storage' = replicas.storage
    )
)
SELECT virtual_storage, relative_path, storage
FROM candidates
WHERE assigned
OR NOT EXISTS (
    SELECT FROM candidates AS others
    WHERE others.virtual_storage = candidates.virtual_storage
    AND others.relative_path = candidates.relative_path
    AND others.assigned
);
