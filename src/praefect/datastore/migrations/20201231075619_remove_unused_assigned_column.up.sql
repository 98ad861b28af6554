ALTER TABLE storage_repositories DROP COLUMN assigned;
