-- Replicas without a repository are of no use; one payload could not hold all the names.
ALTER TABLE storage_repositories DISABLE TRIGGER notify_on_delete;
DELETE FROM storage_repositories WHERE repository_id IS NULL;
ALTER TABLE storage_repositories ENABLE TRIGGER notify_on_delete;

ALTER TABLE repository_assignments
    ALTER COLUMN repository_id SET NOT NULL,
    DROP CONSTRAINT repository_id_not_null;

ALTER TABLE storage_repositories
    ALTER COLUMN repository_id SET NOT NULL,
    DROP CONSTRAINT repository_id_not_null;
