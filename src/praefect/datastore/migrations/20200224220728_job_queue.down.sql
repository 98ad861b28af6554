DROP TABLE IF EXISTS replication_queue_job_lock CASCADE;
DROP TABLE IF EXISTS replication_queue CASCADE;
DROP TABLE IF EXISTS replication_queue_lock CASCADE;
DROP TYPE IF EXISTS replication_job_state CASCADE;
