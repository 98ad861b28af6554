DROP TABLE storage_repositories;
DROP TABLE repositories;
