-- name: lock_schema
-- Keeps other processes from changing our schema until the transaction ends.
-- Advisory lock, by a number of our own; waits.
SELECT pg_advisory_xact_lock(1886544230, 1870097006);

-- name: schema_exists
-- Tells whether our schema is there and may be used, and whether it could be made.
-- One snapshot, no locks.
SELECT
    EXISTS (SELECT FROM pg_namespace WHERE nspname = 'praefect_own') AS is_present,
    has_database_privilege(current_database(), 'CREATE') AS may_create,
    coalesce((
        SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')
        FROM pg_namespace
        WHERE nspname = 'praefect_own'
    ), false) AS may_use,
    current_user AS role_name,
    current_database() AS database_name;

-- name: create_schema
-- Makes our schema where it is missing.
-- Under lock_schema.
CREATE SCHEMA IF NOT EXISTS praefect_own;

-- name: create_migrations
-- Makes the bookkeeping of our schema where it is missing.
-- Under lock_schema.
CREATE TABLE IF NOT EXISTS praefect_own.migrations (
    id text PRIMARY KEY,
    applied_at timestamp with time zone NOT NULL DEFAULT now()
);

-- name: list_migrations
-- Lists what has been applied.
-- Under lock_schema.
SELECT id FROM praefect_own.migrations;

-- name: record_migration
-- Records an applied migration.
-- Under lock_schema, in the migration's own transaction.
INSERT INTO praefect_own.migrations (id) VALUES (%(id)s);

-- name: take_lease
-- Begins an incarnation.
-- A row of a random key: no conflicts.
INSERT INTO praefect_own.leases (incarnation, praefect_name, expires_at)
VALUES (%(incarnation)s, %(praefect_name)s, now() + make_interval(secs => %(seconds)s::float8));

-- name: renew_lease
-- Prolongs a lease that nobody has buried, and deletes doubts whose writes changed nothing. No row if the lease is gone.
-- An expired lease may be renewed: as long as its row is there, nobody has touched its doubts. Renewal and burial lock
-- the row, and the second looks at what the first has made of it. Only doubts that are still the caller's are changed.
WITH renewed AS (
    UPDATE praefect_own.leases
    SET expires_at = now() + make_interval(secs => %(seconds)s::float8)
    WHERE incarnation = %(incarnation)s
    RETURNING incarnation
), closed AS (
    DELETE FROM praefect_own.doubts
    WHERE incarnation = %(incarnation)s AND owner = %(incarnation)s AND NOT is_taken
    AND number = ANY (%(closed)s::bigint[])
)
SELECT incarnation FROM renewed;

-- name: release_lease
-- Ends a lease; whatever doubts it leaves have lapsed then.
-- Locks its row.
DELETE FROM praefect_own.leases WHERE incarnation = %(incarnation)s;

-- name: bury_leases
-- Deletes leases that have expired, unless PostgreSQL has just been started and their holders could not renew them.
-- From here on their doubts have lapsed, for ever. The condition is looked at again in the locked row's newest version.
DELETE FROM praefect_own.leases
WHERE expires_at < now()
AND pg_postmaster_start_time() < now() - make_interval(secs => %(patience_seconds)s::float8);

-- name: open
-- Stores a doubt about a write to a repository, with the replicas at its generation, unless the caller holds no lease or
-- an earlier doubt has to be settled first, or the repository's replicas differ and it is read-only.
-- The lease's row is locked against its burial, so that no doubt appears that had lapsed before. A settlement locks the
-- repository's row: who opens waits for it, or it sees the doubt. A doubt that lapses while this statement runs blocks
-- only those that come later, as if the two had met in that order.
-- Replicas and generation are those of the snapshot, both: the locked row may be newer, and no replica would be at it.
WITH held AS (
    SELECT incarnation FROM praefect_own.leases WHERE incarnation = %(incarnation)s FOR KEY SHARE
), locked AS (
    SELECT repository_id FROM repositories WHERE repository_id = %(repository_id)s FOR KEY SHARE
), unsettled AS (
    SELECT 1
    FROM praefect_own.doubts AS doubts
    WHERE doubts.repository_id = %(repository_id)s
    AND (
        doubts.is_taken
        OR NOT EXISTS (SELECT FROM praefect_own.leases AS leases WHERE leases.incarnation = doubts.owner)
    )
    UNION ALL
    SELECT 1
    FROM praefect_own.disagreements AS disagreements
    WHERE disagreements.repository_id = %(repository_id)s
    LIMIT 1
), opened AS (
    INSERT INTO praefect_own.doubts (
        incarnation, number, owner, repository_id, virtual_storage, relative_path, replica_path, method, creates,
        storages, generation
    )
    SELECT
        held.incarnation, %(number)s, held.incarnation, %(repository_id)s, %(virtual_storage)s, %(relative_path)s,
        %(replica_path)s, %(method)s, %(creates)s::boolean,
        CASE WHEN %(creates)s::boolean THEN %(storages)s::text[] ELSE ARRAY(
            SELECT replicas.storage
            FROM storage_repositories AS replicas
            JOIN repositories USING (repository_id, generation)
            WHERE repositories.repository_id = %(repository_id)s
            ORDER BY replicas.storage
        ) END,
        (SELECT generation FROM repositories WHERE repository_id = %(repository_id)s)
    FROM held
    LEFT JOIN locked ON true
    WHERE NOT EXISTS (SELECT FROM unsettled)
    RETURNING number
)
SELECT EXISTS (SELECT FROM held) AS has_lease, EXISTS (SELECT FROM opened) AS is_opened;

-- name: reopen
-- Stores a doubt that is nobody's: a write whose doubt others have settled turned out to have had effects since.
-- A row of its own key; repeated, it changes nothing.
INSERT INTO praefect_own.doubts (
    incarnation, number, owner, repository_id, virtual_storage, relative_path, replica_path, method, creates, storages,
    generation
)
VALUES (
    %(incarnation)s, %(number)s, '', %(repository_id)s, %(virtual_storage)s, %(relative_path)s, %(replica_path)s,
    %(method)s, %(creates)s, %(storages)s::text[], %(generation)s
)
ON CONFLICT (incarnation, number) DO UPDATE SET owner = '', is_taken = false;

-- name: record_increment
-- Records a write as increment_generation of the repositories does, and deletes its doubt; does nothing if the doubt is
-- not the caller's any more. Only replicas count that were at the generation when the write began and were not copied to
-- since: a copy may have undone on them what the write had done.
-- One transaction. A taker-over and this statement lock the doubt's row, and the second looks at what the first has made
-- of it.
WITH mine AS (
    DELETE FROM praefect_own.doubts
    WHERE incarnation = %(incarnation)s AND number = %(number)s AND owner = %(incarnation)s AND NOT is_taken
    RETURNING storages
), newest AS (
    SELECT repositories.repository_id, replicas.storage
    FROM repositories
    JOIN storage_repositories AS replicas USING (repository_id, generation)
    WHERE repositories.repository_id = %(repository_id)s
    AND replicas.storage = ANY (%(storages)s::text[])
    AND replicas.storage IN (SELECT unnest(storages) FROM mine)
    FOR UPDATE OF repositories, replicas
), updated_replicas AS (
    UPDATE storage_repositories AS replicas
    SET generation = replicas.generation + 1
    FROM newest
    WHERE replicas.repository_id = newest.repository_id AND replicas.storage = newest.storage
    RETURNING replicas.repository_id
), updated_repository AS (
    UPDATE repositories
    SET generation = repositories.generation + 1
    FROM (SELECT DISTINCT repository_id FROM updated_replicas) AS updated
    WHERE repositories.repository_id = updated.repository_id
)
SELECT
    EXISTS (SELECT FROM mine) AS is_mine,
    EXISTS (SELECT FROM repositories WHERE repository_id = %(repository_id)s) AS repository_exists,
    EXISTS (SELECT FROM updated_replicas) AS is_updated;

-- name: record_creation
-- Records a new repository as create of the repositories does, and deletes its doubt; does nothing if the doubt is not
-- the caller's any more.
-- As record_increment; of two creators of one path one fails on a unique index, and keeps its doubt.
WITH mine AS (
    DELETE FROM praefect_own.doubts
    WHERE incarnation = %(incarnation)s AND number = %(number)s AND owner = %(incarnation)s AND NOT is_taken
    RETURNING number
), created AS (
    INSERT INTO repositories (repository_id, virtual_storage, relative_path, replica_path, generation, "primary")
    SELECT %(repository_id)s::bigint, %(virtual_storage)s, %(relative_path)s, %(replica_path)s, 0, %(primary)s::text
    FROM mine
), assigned AS (
    INSERT INTO repository_assignments (repository_id, virtual_storage, relative_path, storage)
    SELECT DISTINCT %(repository_id)s::bigint, %(virtual_storage)s::text, %(relative_path)s::text, storage
    FROM unnest(%(assigned)s::text[]) AS storages (storage), mine
), replicas AS (
    INSERT INTO storage_repositories (repository_id, virtual_storage, relative_path, storage, generation)
    SELECT DISTINCT %(repository_id)s::bigint, %(virtual_storage)s::text, %(relative_path)s::text, storage, 0
    FROM unnest(%(updated)s::text[]) AS storages (storage), mine
)
SELECT EXISTS (SELECT FROM mine) AS is_mine;

-- name: exclude_copied
-- Notes that a replica was copied to while writes were under way.
-- Locks the repository's doubts until the transaction ends, in which the copy is recorded: a record of a write comes
-- before both, and leaves the copy behind, or after both.
UPDATE praefect_own.doubts
SET storages = array_remove(storages, %(storage)s)
WHERE repository_id = %(repository_id)s AND NOT creates AND %(storage)s = ANY (storages);

-- name: count_doubts
-- Counts doubts by virtual storage, and those of them that have lapsed.
-- One snapshot, no locks.
SELECT
    doubts.virtual_storage,
    count(*) AS total,
    count(*) FILTER (
        WHERE doubts.is_taken
        OR NOT EXISTS (SELECT FROM praefect_own.leases AS leases WHERE leases.incarnation = doubts.owner)
    ) AS lapsed
FROM praefect_own.doubts AS doubts
GROUP BY doubts.virtual_storage;

-- name: list_doubts
-- Lists doubts, oldest first: all, or those that have lapsed or are being settled.
-- One snapshot, no locks.
SELECT
    doubts.incarnation, doubts.number, doubts.owner, doubts.repository_id, doubts.virtual_storage,
    doubts.relative_path, doubts.replica_path, doubts.method, doubts.creates, doubts.storages, doubts.generation,
    doubts.opened_at,
    doubts.is_taken
    OR NOT EXISTS (SELECT FROM praefect_own.leases AS leases WHERE leases.incarnation = doubts.owner) AS is_lapsed
FROM praefect_own.doubts AS doubts
WHERE NOT %(only_lapsed)s::boolean
OR doubts.is_taken
OR NOT EXISTS (SELECT FROM praefect_own.leases AS leases WHERE leases.incarnation = doubts.owner)
ORDER BY doubts.opened_at, doubts.incarnation, doubts.number;

-- name: take_over
-- Makes the caller, who must hold a lease, the owner of a repository's doubts whose owner holds none.
-- Compares and sets in the locked rows' newest versions: of two that take one over, one gets it.
WITH held AS (
    SELECT incarnation FROM praefect_own.leases WHERE incarnation = %(incarnation)s FOR KEY SHARE
)
UPDATE praefect_own.doubts AS doubts
SET owner = held.incarnation, is_taken = true
FROM held
WHERE doubts.repository_id = %(repository_id)s
AND NOT EXISTS (SELECT FROM praefect_own.leases AS leases WHERE leases.incarnation = doubts.owner);

-- name: give_back
-- Makes nobody the owner of the doubts of a repository that the caller has taken over, so that others can settle them.
-- Only rows that are still the caller's; they stay taken, so that whoever opened them cannot record them.
UPDATE praefect_own.doubts
SET owner = ''
WHERE repository_id = %(repository_id)s AND owner = %(incarnation)s AND is_taken;

-- name: read_current
-- Reads what a settlement compares: generation, replicas at it, and the repository's doubts. No row without repository.
-- One snapshot, no locks.
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
    ) AS storages
FROM repositories
WHERE repositories.repository_id = %(repository_id)s;

-- name: list_of_repository
-- Lists a repository's doubts.
-- One snapshot, no locks.
SELECT
    doubts.incarnation, doubts.number, doubts.owner, doubts.repository_id, doubts.virtual_storage,
    doubts.relative_path, doubts.replica_path, doubts.method, doubts.creates, doubts.storages, doubts.generation,
    doubts.opened_at,
    doubts.is_taken
    OR NOT EXISTS (SELECT FROM praefect_own.leases AS leases WHERE leases.incarnation = doubts.owner) AS is_lapsed
FROM praefect_own.doubts AS doubts
WHERE doubts.repository_id = %(repository_id)s
ORDER BY doubts.opened_at, doubts.incarnation, doubts.number;

-- name: lock_repository
-- Locks a repository's row against those who open doubts or record, so that the next statement sees all they did.
-- Held until the transaction ends.
SELECT repository_id FROM repositories WHERE repository_id = %(repository_id)s FOR UPDATE;

-- name: settle
-- Records a comparison: where replicas differed, raises the generation of the winners and the repository's. Deletes the
-- doubts. No row, and nothing done, if generation, replicas at it or doubts are not what they were.
-- In a transaction that has locked the repository's row, so that the snapshot shows every doubt opened before.
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
), compared AS (
    SELECT incarnation, number
    FROM unnest(%(incarnations)s::text[], %(numbers)s::bigint[]) AS keys (incarnation, number)
), owned AS (
    SELECT doubts.incarnation, doubts.number
    FROM praefect_own.doubts AS doubts
    WHERE doubts.repository_id = %(repository_id)s AND doubts.owner = %(incarnation)s AND doubts.is_taken
    AND (doubts.incarnation, doubts.number) IN (SELECT incarnation, number FROM compared)
    FOR UPDATE
), approved AS (
    SELECT repository.repository_id, repository.generation
    FROM repository
    WHERE (SELECT count(*) FROM owned) = (SELECT count(*) FROM compared)
    AND NOT EXISTS (
        SELECT FROM praefect_own.doubts AS doubts
        WHERE doubts.repository_id = %(repository_id)s
        AND (
            doubts.is_taken
            OR NOT EXISTS (SELECT FROM praefect_own.leases AS leases WHERE leases.incarnation = doubts.owner)
        )
        AND (doubts.incarnation, doubts.number) NOT IN (SELECT incarnation, number FROM compared)
    )
), raised_replicas AS (
    UPDATE storage_repositories AS replicas
    SET generation = replicas.generation + 1
    FROM approved
    WHERE %(differs)s::boolean
    AND replicas.repository_id = approved.repository_id
    AND replicas.generation = approved.generation
    AND replicas.storage = ANY (%(winners)s::text[])
), raised_repository AS (
    UPDATE repositories
    SET generation = repositories.generation + 1
    FROM approved
    WHERE %(differs)s::boolean AND repositories.repository_id = approved.repository_id
), deleted AS (
    DELETE FROM praefect_own.doubts AS doubts
    USING approved, owned
    WHERE doubts.incarnation = owned.incarnation AND doubts.number = owned.number
)
SELECT repository_id FROM approved;

-- name: forget
-- Deletes the doubts that the caller owns of a repository that has no record: it was removed, or never came to be.
-- Locks what it deletes; a record that appears meanwhile can only be of a creation that still owns its doubt.
DELETE FROM praefect_own.doubts
WHERE repository_id = %(repository_id)s
AND owner = %(incarnation)s
AND is_taken
AND NOT EXISTS (SELECT FROM repositories WHERE repositories.repository_id = %(repository_id)s);
