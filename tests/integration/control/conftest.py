from tests.support.scripted_cluster import cluster, database, postgres_server

__all__ = ["cluster", "database", "postgres_server"]
