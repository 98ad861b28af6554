-- name: server_version
-- Asks for the server's version.
-- No locks.
SELECT current_setting('server_version_num')::integer AS version;

-- name: read
-- Reads a row that a migration has put there.
-- One snapshot, no locks.
SELECT id FROM hello_world;

-- name: write
-- Writes a row.
-- The caller rolls back.
INSERT INTO hello_world (id) VALUES (1);
