DROP TABLE repository_assignments;
