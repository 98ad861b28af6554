-- name: record
-- Stores what one Praefect saw of all its storages; a storage that did not answer keeps the time it last did.
-- Rows come sorted, so that two Praefects lock them in one order.
INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
SELECT %(praefect_name)s::text, virtual_storage, storage, now(), CASE WHEN active THEN now() END
FROM unnest(%(virtual_storages)s::text[], %(storages)s::text[], %(active)s::boolean[])
    AS observations (virtual_storage, storage, active)
ORDER BY virtual_storage, storage
ON CONFLICT (praefect_name, shard_name, node_name) DO UPDATE
SET
    last_contact_attempt_at = excluded.last_contact_attempt_at,
    last_seen_active_at = coalesce(excluded.last_seen_active_at, node_status.last_seen_active_at);

-- name: healthy_storages
-- Lists the storages that enough Praefects see.
-- One snapshot, no locks.
SELECT virtual_storage, storage FROM healthy_storages ORDER BY virtual_storage, storage;
