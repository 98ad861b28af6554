-- name: read
-- Reads what a comparison needs: generation, replicas at it, whether there are doubts, and who differed before.
-- One snapshot, no locks. No row without repository.
SELECT
    repositories.virtual_storage,
    repositories.relative_path,
    coalesce(repositories.replica_path, '') AS replica_path,
    repositories.generation,
    repositories."primary",
    ARRAY(
        SELECT replicas.storage
        FROM storage_repositories AS replicas
        WHERE replicas.repository_id = repositories.repository_id AND replicas.generation = repositories.generation
    ) AS storages,
    EXISTS (
        SELECT FROM praefect_own.doubts AS doubts WHERE doubts.repository_id = repositories.repository_id
    ) AS is_doubted,
    disagreements.storages AS witnesses
FROM repositories
LEFT JOIN praefect_own.disagreements AS disagreements USING (repository_id)
WHERE repositories.repository_id = %(repository_id)s;

-- name: overrule
-- Raises the generation of those that are kept and of the repository, so that the others are behind, and ends a
-- disagreement. No row, and nothing done, if generation or replicas at it are not what they were, or there are doubts.
-- In a transaction that has locked the repository's row (lock_repository of the doubts), so that the snapshot shows every
-- doubt opened before; a write that opens its doubt later counts on none of the replicas that are behind then.
WITH repository AS (
    SELECT repository_id, generation
    FROM repositories
    WHERE repository_id = %(repository_id)s
    AND generation = %(generation)s
    AND ARRAY(
        SELECT replicas.storage
        FROM storage_repositories AS replicas
        WHERE replicas.repository_id = repositories.repository_id AND replicas.generation = repositories.generation
        ORDER BY replicas.storage COLLATE "C"
    ) = %(storages)s::text[]
    AND NOT EXISTS (
        SELECT FROM praefect_own.doubts AS doubts WHERE doubts.repository_id = repositories.repository_id
    )
), raised_replicas AS (
    UPDATE storage_repositories AS replicas
    SET generation = replicas.generation + 1
    FROM repository
    WHERE replicas.repository_id = repository.repository_id
    AND replicas.generation = repository.generation
    AND replicas.storage = ANY (%(kept)s::text[])
), raised_repository AS (
    UPDATE repositories
    SET generation = repositories.generation + 1
    FROM repository
    WHERE repositories.repository_id = repository.repository_id
), ended AS (
    DELETE FROM praefect_own.disagreements
    WHERE repository_id IN (SELECT repository_id FROM repository)
)
SELECT repository_id FROM repository;

-- name: disagree
-- Notes that a repository's replicas differ and none has a majority; those that differed first stay the ones that count.
-- No row, and nothing done, under the same conditions as in overrule; the same lock is held.
INSERT INTO praefect_own.disagreements (repository_id, virtual_storage, relative_path, storages)
SELECT repository_id, virtual_storage, relative_path, %(storages)s::text[]
FROM repositories
WHERE repository_id = %(repository_id)s
AND generation = %(generation)s
AND ARRAY(
    SELECT replicas.storage
    FROM storage_repositories AS replicas
    WHERE replicas.repository_id = repositories.repository_id AND replicas.generation = repositories.generation
    ORDER BY replicas.storage COLLATE "C"
) = %(storages)s::text[]
AND NOT EXISTS (
    SELECT FROM praefect_own.doubts AS doubts WHERE doubts.repository_id = repositories.repository_id
)
ON CONFLICT (repository_id) DO UPDATE SET looked_at = now()
RETURNING xmax = 0 AS is_new;

-- name: agree
-- Ends a disagreement: the replicas at the generation are equal, or there is one left, or the repository is gone.
-- Nothing is done if the generation is not what it was. Locks the row.
DELETE FROM praefect_own.disagreements AS disagreements
WHERE disagreements.repository_id = %(repository_id)s
AND (
    SELECT repositories.generation FROM repositories WHERE repositories.repository_id = disagreements.repository_id
) IS NOT DISTINCT FROM %(generation)s::bigint;

-- name: claim
-- Chooses some disagreements to look at again, those that nobody has looked at for the longest time.
-- Rows are locked, and those that others have locked skipped; looked_at is judged again in the locked row.
UPDATE praefect_own.disagreements AS disagreements
SET looked_at = now()
FROM (
    SELECT repository_id
    FROM praefect_own.disagreements
    WHERE looked_at < now() - make_interval(secs => %(patience_seconds)s::float8)
    ORDER BY looked_at
    LIMIT %(size)s
    FOR UPDATE SKIP LOCKED
) AS chosen
WHERE disagreements.repository_id = chosen.repository_id
RETURNING disagreements.repository_id;

-- name: count
-- Counts disagreements by virtual storage.
-- One snapshot, no locks.
SELECT virtual_storage, count(*) AS total FROM praefect_own.disagreements GROUP BY virtual_storage;

-- name: list
-- Lists disagreements, oldest first; all, or those of one virtual storage.
-- One snapshot, no locks.
SELECT repository_id, virtual_storage, relative_path, storages, found_at
FROM praefect_own.disagreements
WHERE %(virtual_storage)s::text IS NULL OR virtual_storage = %(virtual_storage)s::text
ORDER BY found_at, repository_id;

-- name: find
-- Finds a repository's disagreement.
-- One snapshot, no locks.
SELECT repository_id, virtual_storage, relative_path, storages, found_at
FROM praefect_own.disagreements
WHERE repository_id = %(repository_id)s;
