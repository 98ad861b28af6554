-- no transaction
CREATE UNIQUE INDEX CONCURRENTLY delete_replica_unique_index
    ON replication_queue ((job ->> 'virtual_storage'), (job ->> 'relative_path'))
    WHERE state NOT IN ('completed', 'cancelled', 'dead')
    AND job ->> 'change' = 'delete_replica';
