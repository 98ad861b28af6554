-- name: enqueue
-- Puts a job into the queue unless a like one is ready: same change, repository and target, whatever the source. Returns
-- the event; no row if there was one.
-- The lock row is rewritten, which tells remove_unused_locks that somebody counts on it. A ready twin is locked: if it is
-- taken or removed meanwhile, it is none any more and the job is inserted. A twin behind a job in progress is made young,
-- or that job, which may have read the source before the caller's write, would remove it as done when it completes; a
-- twin that no such job precedes keeps its place in the queue.
WITH lock AS (
    INSERT INTO replication_queue_lock (id)
    VALUES (%(lock_id)s)
    ON CONFLICT (id) DO UPDATE SET id = excluded.id
    RETURNING id
), twin AS (
    UPDATE replication_queue AS twins
    SET created_at = CASE WHEN EXISTS (
        SELECT FROM replication_queue AS running
        WHERE running.state = 'in_progress'
        AND running.job ->> 'virtual_storage' = %(virtual_storage)s
        AND running.job ->> 'relative_path' = %(relative_path)s
        AND running.job ->> 'target_node_storage' = %(target)s
        AND running.job ->> 'change' = %(change)s
    ) THEN now() AT TIME ZONE 'UTC' ELSE twins.created_at END
    WHERE twins.state = 'ready'
    AND twins.job ->> 'virtual_storage' = %(virtual_storage)s
    AND twins.job ->> 'relative_path' = %(relative_path)s
    AND twins.job ->> 'target_node_storage' = %(target)s
    AND twins.job ->> 'change' = %(change)s
    RETURNING twins.id
)
INSERT INTO replication_queue (lock_id, job, meta)
SELECT lock.id, %(job)s::jsonb, %(meta)s::jsonb
FROM lock
WHERE NOT EXISTS (SELECT FROM twin)
RETURNING id, state::text, attempt, lock_id, created_at, updated_at, job, meta;

-- name: dequeue
-- Takes jobs for one storage: of each repository and change the oldest, oldest first. Jobs of a change that this version
-- does not know are left to those that do.
-- Events and lock rows are locked, and those that others have locked skipped. What was taken since the snapshot is seen
-- to be taken, because state and acquired are looked at again in the locked rows' newest versions; so one Praefect at a
-- time works on a repository of a storage.
WITH oldest AS (
    SELECT DISTINCT ON (lock_id, job ->> 'change') id, created_at
    FROM replication_queue
    WHERE state IN ('ready', 'failed')
    AND job ->> 'virtual_storage' = %(virtual_storage)s
    AND job ->> 'target_node_storage' = %(target)s
    AND job ->> 'change' = ANY (%(changes)s::text[])
    AND NOT EXISTS (
        SELECT FROM replication_queue_job_lock AS held WHERE held.lock_id = replication_queue.lock_id
    )
    ORDER BY lock_id, job ->> 'change', created_at, id
), picked AS (
    SELECT queue.id
    FROM oldest
    JOIN replication_queue AS queue USING (id)
    JOIN replication_queue_lock AS locks ON locks.id = queue.lock_id
    WHERE queue.state IN ('ready', 'failed') AND NOT locks.acquired
    ORDER BY oldest.created_at, oldest.id
    LIMIT %(size)s
    FOR UPDATE OF queue, locks SKIP LOCKED
), taken AS (
    UPDATE replication_queue AS queue
    SET
        state = 'in_progress',
        updated_at = now() AT TIME ZONE 'UTC',
        attempt = CASE job ->> 'change' WHEN 'delete_replica' THEN attempt ELSE attempt - 1 END
    FROM picked
    WHERE queue.id = picked.id
    RETURNING queue.id, queue.state::text, attempt, lock_id, created_at, updated_at, job, meta
), held AS (
    INSERT INTO replication_queue_job_lock (job_id, lock_id, triggered_at)
    SELECT id, lock_id, updated_at FROM taken
), acquired AS (
    UPDATE replication_queue_lock SET acquired = true WHERE id IN (SELECT lock_id FROM taken)
)
SELECT * FROM taken ORDER BY id;

-- name: finish
-- Removes jobs in progress that were done or given up, and what they held. If they were done, so were the ready ones of
-- the same change and source that were older than the moment they were taken. Lists those that were in progress.
-- Events are locked. A lock is free when as many holds were removed as there were; two holds of one lock that are removed
-- by two statements at once leave it acquired, which release_orphans repairs.
WITH acknowledged AS (
    SELECT id, lock_id, updated_at, job
    FROM replication_queue
    WHERE id = ANY (%(ids)s::bigint[]) AND state = 'in_progress'
    FOR UPDATE
), removed AS (
    DELETE FROM replication_queue WHERE id IN (SELECT id FROM acknowledged)
), superseded AS (
    DELETE FROM replication_queue AS queue
    USING acknowledged
    WHERE %(is_completed)s::boolean
    AND queue.state = 'ready'
    AND queue.lock_id = acknowledged.lock_id
    AND queue.job ->> 'virtual_storage' = acknowledged.job ->> 'virtual_storage'
    AND queue.job ->> 'relative_path' = acknowledged.job ->> 'relative_path'
    AND queue.job ->> 'target_node_storage' = acknowledged.job ->> 'target_node_storage'
    AND queue.job ->> 'change' = acknowledged.job ->> 'change'
    AND coalesce(queue.job ->> 'source_node_storage', '') = coalesce(acknowledged.job ->> 'source_node_storage', '')
    AND queue.created_at < acknowledged.updated_at
), holds AS (
    DELETE FROM replication_queue_job_lock
    WHERE job_id IN (SELECT id FROM acknowledged)
    RETURNING lock_id
), released AS (
    UPDATE replication_queue_lock AS locks
    SET acquired = false
    FROM (SELECT lock_id, count(*) AS removed FROM holds GROUP BY lock_id) AS holds
    WHERE locks.id = holds.lock_id
    AND holds.removed = (SELECT count(*) FROM replication_queue_job_lock AS held WHERE held.lock_id = locks.id)
)
SELECT id FROM acknowledged ORDER BY id;

-- name: fail
-- Puts jobs in progress back for another attempt and frees what they held. Lists those that were in progress.
-- As finish.
WITH failed AS (
    UPDATE replication_queue
    SET state = 'failed', updated_at = now() AT TIME ZONE 'UTC'
    WHERE id = ANY (%(ids)s::bigint[]) AND state = 'in_progress'
    RETURNING id
), holds AS (
    DELETE FROM replication_queue_job_lock
    WHERE job_id IN (SELECT id FROM failed)
    RETURNING lock_id
), released AS (
    UPDATE replication_queue_lock AS locks
    SET acquired = false
    FROM (SELECT lock_id, count(*) AS removed FROM holds GROUP BY lock_id) AS holds
    WHERE locks.id = holds.lock_id
    AND holds.removed = (SELECT count(*) FROM replication_queue_job_lock AS held WHERE held.lock_id = locks.id)
)
SELECT id FROM failed ORDER BY id;

-- name: refresh
-- Says that jobs are still worked on.
-- Locks the holds; one that was removed as stale is not made again.
UPDATE replication_queue_job_lock AS held
SET triggered_at = now() AT TIME ZONE 'UTC'
FROM unnest(%(ids)s::bigint[], %(lock_ids)s::text[]) AS events (job_id, lock_id)
WHERE held.job_id = events.job_id AND held.lock_id = events.lock_id;

-- name: release_stale
-- Puts back the jobs of workers that fell silent, removes those without attempts left, and counts the locks it freed.
-- Events are locked before holds, as finish and fail do; what those are about to acknowledge is skipped. A hold that is
-- refreshed at the same time is looked at again when its row is locked, and kept.
WITH silent AS (
    SELECT held.job_id, held.lock_id
    FROM replication_queue AS queue
    JOIN replication_queue_job_lock AS held ON held.job_id = queue.id
    WHERE held.triggered_at < now() AT TIME ZONE 'UTC' - %(age)s::interval
    FOR UPDATE OF queue, held SKIP LOCKED
), stale AS (
    DELETE FROM replication_queue_job_lock AS held
    USING silent
    WHERE held.job_id = silent.job_id AND held.lock_id = silent.lock_id
    RETURNING held.job_id, held.lock_id
), failed AS (
    UPDATE replication_queue
    SET state = 'failed', updated_at = now() AT TIME ZONE 'UTC'
    WHERE id IN (SELECT job_id FROM stale) AND attempt >= 1
), removed AS (
    DELETE FROM replication_queue WHERE id IN (SELECT job_id FROM stale) AND attempt < 1
), released AS (
    UPDATE replication_queue_lock AS locks
    SET acquired = false
    FROM (SELECT lock_id, count(*) AS removed FROM stale GROUP BY lock_id) AS holds
    WHERE locks.id = holds.lock_id
    AND holds.removed = (SELECT count(*) FROM replication_queue_job_lock AS held WHERE held.lock_id = locks.id)
    RETURNING locks.id
)
SELECT count(*) AS released FROM released;

-- name: release_orphans
-- Frees locks that nobody holds.
-- A lock is acquired and held by one statement, so that an acquired one without a hold is a left-over. Nobody takes it
-- while it is acquired.
UPDATE replication_queue_lock AS locks
SET acquired = false
WHERE acquired
AND NOT EXISTS (SELECT FROM replication_queue_job_lock AS held WHERE held.lock_id = locks.id);

-- name: remove_unused_locks
-- Deletes locks that nobody holds and no event refers to, some at a time.
-- An event may come to refer to a lock after the snapshot: enqueue rewrites the lock's row, whose xmin then differs from
-- the snapshot's when it is looked at again. An enqueue that comes later waits for the deletion and makes the row anew.
DELETE FROM replication_queue_lock AS locks
USING (
    SELECT id, xmin AS version
    FROM replication_queue_lock AS unused
    WHERE NOT acquired
    AND NOT EXISTS (SELECT FROM replication_queue_job_lock AS held WHERE held.lock_id = unused.id)
    AND NOT EXISTS (SELECT FROM replication_queue AS queue WHERE queue.lock_id = unused.id)
    ORDER BY id
    LIMIT %(size)s
) AS unused
WHERE locks.id = unused.id AND locks.xmin = unused.version AND NOT locks.acquired;

-- name: count_events
-- Counts events by virtual storage, target and state.
-- One snapshot, no locks.
SELECT
    job ->> 'virtual_storage' AS virtual_storage,
    job ->> 'target_node_storage' AS target,
    state::text,
    count(*) AS events
FROM replication_queue
GROUP BY 1, 2, 3;

-- name: delete_of_repository
-- Deletes a repository's events that nobody works on; tells whether there are others.
-- Locks what it deletes; an event that is taken meanwhile is kept, and not told of.
WITH deleted AS (
    DELETE FROM replication_queue
    WHERE job ->> 'virtual_storage' = %(virtual_storage)s
    AND job ->> 'relative_path' = %(relative_path)s
    AND state <> 'in_progress'
)
SELECT EXISTS (
    SELECT FROM replication_queue
    WHERE job ->> 'virtual_storage' = %(virtual_storage)s
    AND job ->> 'relative_path' = %(relative_path)s
    AND state = 'in_progress'
) AS is_in_progress;

-- name: list_of_repository
-- Lists a repository's events that are not over, oldest first.
-- One snapshot, no locks.
SELECT id, state::text, attempt, lock_id, created_at, updated_at, job, meta
FROM replication_queue
WHERE state IN ('ready', 'in_progress', 'failed')
AND job ->> 'virtual_storage' = %(virtual_storage)s
AND job ->> 'relative_path' = %(relative_path)s
AND job ->> 'change' = ANY (%(changes)s::text[])
ORDER BY created_at, id;
