CREATE OR REPLACE VIEW valid_primaries AS
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
