ALTER TABLE shard_primaries DROP COLUMN previous_writable_primary;
