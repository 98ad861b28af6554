ALTER TABLE storage_repositories
    ADD COLUMN verified_at timestamp with time zone,
    ADD COLUMN verification_leased_until timestamp with time zone;

CREATE INDEX verification_queue
    ON storage_repositories (verified_at NULLS FIRST)
    WHERE verification_leased_until IS NULL;
