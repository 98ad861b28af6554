ALTER TABLE repositories DROP COLUMN "primary";
