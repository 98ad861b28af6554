-- no transaction
CREATE INDEX CONCURRENTLY replication_queue_target_index
    ON replication_queue (
        (job ->> 'virtual_storage'),
        (job ->> 'relative_path'),
        (job ->> 'target_node_storage'),
        (job ->> 'change')
    )
    WHERE state NOT IN ('completed', 'cancelled', 'dead');
