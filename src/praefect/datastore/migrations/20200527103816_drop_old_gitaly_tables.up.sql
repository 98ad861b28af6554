DROP TABLE IF EXISTS gitaly_replication_queue_job_lock;
DROP TABLE IF EXISTS gitaly_replication_queue;
DROP TABLE IF EXISTS gitaly_replication_queue_lock;
