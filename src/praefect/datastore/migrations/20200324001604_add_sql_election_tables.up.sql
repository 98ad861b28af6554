CREATE TABLE node_status (
    id bigserial PRIMARY KEY,
    praefect_name varchar(511) NOT NULL,
    shard_name varchar(255) NOT NULL,
    node_name varchar(255) NOT NULL,
    last_contact_attempt_at timestamp with time zone,
    last_seen_active_at timestamp with time zone
);

CREATE UNIQUE INDEX shard_node_names_on_node_status_idx ON node_status (praefect_name, shard_name, node_name);

CREATE INDEX shard_name_on_node_status_idx ON node_status (shard_name, node_name);

CREATE TABLE shard_primaries (
    id bigserial PRIMARY KEY,
    shard_name varchar(255) NOT NULL,
    node_name varchar(255) NOT NULL,
    elected_by_praefect varchar(255) NOT NULL,
    elected_at timestamp with time zone NOT NULL
);

CREATE UNIQUE INDEX shard_name_on_shard_primaries_idx ON shard_primaries (shard_name);
