ALTER TABLE repositories DROP COLUMN replica_path;
