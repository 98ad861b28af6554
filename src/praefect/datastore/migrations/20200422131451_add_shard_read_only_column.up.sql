ALTER TABLE shard_primaries
    ADD COLUMN read_only boolean NOT NULL DEFAULT false,
    ADD COLUMN demoted boolean NOT NULL DEFAULT false;
