-- name: elect
-- Returns a repository's primary, replacing it by a random valid one if it is not valid and another is.
-- Usually no lock. Where the snapshot shows an invalid primary, the repository's row is locked (not against foreign
-- keys), which waits for a competitor and reads what that one has stored: its choice is kept if it is valid. The valid
-- primaries themselves are those of the snapshot; the next call corrects a choice that was overtaken.
-- What decides about the lock reads the snapshot and not the locked row, so that the row's newest version is not looked
-- at again and dropped where the competitor has set it right.
WITH candidates AS (
    SELECT storage FROM valid_primaries WHERE repository_id = %(repository_id)s
), stored AS (
    SELECT repository_id, "primary" FROM repositories WHERE repository_id = %(repository_id)s
), reread AS (
    SELECT repository_id, "primary"
    FROM repositories
    WHERE repository_id = %(repository_id)s
    AND EXISTS (SELECT FROM candidates)
    AND NOT EXISTS (SELECT FROM stored JOIN candidates ON candidates.storage = stored."primary")
    FOR NO KEY UPDATE
), elected AS (
    UPDATE repositories
    SET "primary" = (SELECT storage FROM candidates ORDER BY random() LIMIT 1)
    FROM reread
    WHERE repositories.repository_id = reread.repository_id
    AND NOT EXISTS (SELECT FROM candidates WHERE candidates.storage = reread."primary")
    RETURNING repositories.repository_id, repositories."primary"
)
SELECT
    coalesce(elected."primary", reread."primary", stored."primary") AS "primary",
    CASE WHEN reread.repository_id IS NULL THEN stored."primary" ELSE reread."primary" END AS previous
FROM stored
LEFT JOIN reread USING (repository_id)
LEFT JOIN elected USING (repository_id);

-- name: elect_away
-- Moves a repository's primary off a storage that one Praefect has evidence against, unless another one saw it since, or
-- saw it when it looked last and has had no time to look again.
-- The row is compared and set in one statement: of two that move it at once, the second finds another primary and does
-- nothing. Candidates are those of the snapshot that the caller reaches.
UPDATE repositories
SET "primary" = (
    SELECT storage
    FROM valid_primaries
    WHERE valid_primaries.repository_id = %(repository_id)s AND storage = ANY(%(candidates)s::text[])
    ORDER BY random()
    LIMIT 1
)
WHERE repository_id = %(repository_id)s
AND "primary" = %(dead)s
AND EXISTS (
    SELECT FROM valid_primaries
    WHERE valid_primaries.repository_id = %(repository_id)s AND storage = ANY(%(candidates)s::text[])
)
AND NOT EXISTS (
    SELECT FROM node_status
    WHERE shard_name = %(virtual_storage)s
    AND node_name = %(dead)s
    AND praefect_name <> %(praefect_name)s
    AND (
        last_seen_active_at > now() - make_interval(secs => %(evidence_seconds)s::float8)
        OR (last_seen_active_at >= last_contact_attempt_at AND last_contact_attempt_at > now() - interval '3 seconds')
    )
)
RETURNING "primary";
