-- name: server_version
-- Asks for the server's version.
-- No locks.
SELECT current_setting('server_version_num')::integer AS version;

-- name: standbys
-- Tells whether there are standbys, and whether a commit waits for one of them. Anybody may see the rows of the view,
-- though not what is in them.
-- No locks.
SELECT
    (SELECT count(*) FROM pg_stat_replication) AS standbys,
    current_setting('synchronous_standby_names') <> '' AS are_waited_for,
    current_setting('synchronous_commit') AS commit_mode;

-- name: read
-- Reads a row that a migration has put there.
-- One snapshot, no locks.
SELECT id FROM hello_world;

-- name: write
-- Writes a row.
-- The caller rolls back.
INSERT INTO hello_world (id) VALUES (1);
