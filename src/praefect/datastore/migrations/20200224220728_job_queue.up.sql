CREATE TYPE replication_job_state AS ENUM ('ready', 'in_progress', 'completed', 'cancelled', 'failed', 'dead');

CREATE TABLE replication_queue_lock (
    id text PRIMARY KEY,
    acquired boolean NOT NULL DEFAULT false
);

-- The times of the queue have no zone and are in UTC.
CREATE TABLE replication_queue (
    id bigserial PRIMARY KEY,
    state replication_job_state NOT NULL DEFAULT 'ready',
    created_at timestamp without time zone NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at timestamp without time zone,
    attempt integer NOT NULL DEFAULT 3,
    lock_id text,
    job jsonb,
    meta jsonb
);

CREATE TABLE replication_queue_job_lock (
    job_id bigint REFERENCES replication_queue (id),
    lock_id text REFERENCES replication_queue_lock (id),
    triggered_at timestamp without time zone NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT replication_queue_job_lock_pk PRIMARY KEY (job_id, lock_id)
);
