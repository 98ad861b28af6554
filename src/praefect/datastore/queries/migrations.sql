-- name: create_bookkeeping
-- Makes the table of applied migrations where it is missing; its form is sql-migrate's.
-- No locks that matter; two at once may fail on the table's name, and a repetition succeeds.
CREATE TABLE IF NOT EXISTS schema_migrations (id text PRIMARY KEY, applied_at timestamp with time zone);

-- name: has_bookkeeping
-- Tells whether the table of applied migrations exists.
-- No locks.
SELECT to_regclass('schema_migrations') IS NOT NULL AS exists;

-- name: list_applied
-- Lists what has been applied.
-- One snapshot, no locks.
SELECT id, applied_at FROM schema_migrations ORDER BY id;

-- name: record
-- Records an applied migration; of two processes that applied it, one fails on the key.
-- Runs in the migration's own transaction, if that has one.
INSERT INTO schema_migrations (id, applied_at) VALUES (%(id)s, now());

-- name: forget
-- Forgets a migration that was taken back.
-- Runs in the migration's own transaction.
DELETE FROM schema_migrations WHERE id = %(id)s;
