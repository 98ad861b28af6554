ALTER TABLE repositories ALTER COLUMN generation DROP NOT NULL;
