CREATE OR REPLACE VIEW valid_primaries AS
SELECT repository_id, virtual_storage, relative_path, storage
FROM (
    SELECT
        repositories.repository_id,
        replicas.virtual_storage,
        replicas.relative_path,
        replicas.storage,
        assignments.storage IS NOT NULL AS assigned,
        bool_or(assignments.storage IS NOT NULL)
            OVER (PARTITION BY replicas.virtual_storage, replicas.relative_path) AS any_assigned
    FROM storage_repositories AS replicas
    JOIN repository_generations USING (virtual_storage, relative_path, generation)
    JOIN repositories USING (virtual_storage, relative_path)
    JOIN healthy_storages AS healthy
        ON healthy.virtual_storage = replicas.virtual_storage AND healthy.storage = replicas.storage
    LEFT JOIN repository_assignments AS assignments
        ON assignments.virtual_storage = replicas.virtual_storage
        AND assignments.relative_path = replicas.relative_path
        AND assignments.storage = replicas.storage
    WHERE NOT EXISTS (
        SELECT FROM replication_queue
        WHERE state NOT IN ('completed', 'dead', 'cancelled')
        AND job ->> 'change' = 'delete_replica'
        AND job ->> 'virtual_storage' = replicas.virtual_storage
        AND job ->> 'relative_path' = replicas.relative_path
        AND job ->> 'target_node_storage' = replicas.storage
    )
) AS candidates
WHERE assigned OR NOT any_assigned;
