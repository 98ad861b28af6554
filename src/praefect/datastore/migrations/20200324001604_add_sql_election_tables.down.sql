DROP TABLE shard_primaries;
DROP TABLE node_status;
