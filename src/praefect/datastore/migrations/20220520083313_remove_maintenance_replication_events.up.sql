-- Housekeeping is no longer replicated. A repository's lock is freed unless another job holds it as well.
WITH removed AS (
    DELETE FROM replication_queue
    WHERE job ->> 'change' IN (
        'gc', 'repack_full', 'repack_incremental', 'cleanup', 'pack_refs', 'write_commit_graph', 'midx_repack',
        'optimize_repository', 'prune_unreachable_objects'
    )
    RETURNING id
), removed_locks AS (
    DELETE FROM replication_queue_job_lock
    WHERE job_id IN (SELECT id FROM removed)
    RETURNING lock_id, job_id
)
UPDATE replication_queue_lock
SET acquired = false
WHERE id IN (SELECT lock_id FROM removed_locks)
AND NOT EXISTS (
    SELECT FROM replication_queue_job_lock AS held
    WHERE held.lock_id = replication_queue_lock.id
    AND held.job_id NOT IN (SELECT job_id FROM removed_locks)
);
