CREATE INDEX verification_leases
    ON storage_repositories (verification_leased_until)
    WHERE verification_leased_until IS NOT NULL;
