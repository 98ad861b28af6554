UPDATE repository_assignments
SET repository_id = repositories.repository_id
FROM repositories
WHERE repository_assignments.repository_id IS NULL
AND repository_assignments.virtual_storage = repositories.virtual_storage
AND repository_assignments.relative_path = repositories.relative_path;

-- Nothing changes that listeners care about, and one payload could not hold all the names.
ALTER TABLE storage_repositories DISABLE TRIGGER notify_on_update;

UPDATE storage_repositories
SET repository_id = repositories.repository_id
FROM repositories
WHERE storage_repositories.repository_id IS NULL
AND storage_repositories.virtual_storage = repositories.virtual_storage
AND storage_repositories.relative_path = repositories.relative_path;

ALTER TABLE storage_repositories ENABLE TRIGGER notify_on_update;
