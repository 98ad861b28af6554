ALTER TABLE shard_primaries ADD COLUMN previous_writable_primary text;
