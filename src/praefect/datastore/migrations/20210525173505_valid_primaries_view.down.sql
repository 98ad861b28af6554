DROP VIEW valid_primaries;
DROP VIEW repository_generations;
