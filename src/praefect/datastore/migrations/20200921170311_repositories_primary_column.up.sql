ALTER TABLE repositories ADD COLUMN "primary" text;
