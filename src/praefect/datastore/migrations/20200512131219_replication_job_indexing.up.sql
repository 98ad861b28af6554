CREATE INDEX IF NOT EXISTS virtual_target_on_replication_queue_idx
    ON replication_queue ((job ->> 'virtual_storage'), (job ->> 'target_node_storage'));
