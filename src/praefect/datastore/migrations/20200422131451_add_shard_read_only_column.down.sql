ALTER TABLE shard_primaries
    DROP COLUMN demoted,
    DROP COLUMN read_only;
