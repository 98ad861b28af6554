ALTER TABLE storage_repositories ADD COLUMN assigned boolean NOT NULL DEFAULT true;
