ALTER TABLE repositories ADD COLUMN replica_path text;
