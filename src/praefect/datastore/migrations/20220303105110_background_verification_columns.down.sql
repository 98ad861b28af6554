DROP INDEX verification_queue;

ALTER TABLE storage_repositories
    DROP COLUMN verification_leased_until,
    DROP COLUMN verified_at;
