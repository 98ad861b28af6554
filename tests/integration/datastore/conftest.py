from tests.support.postgres import connection, database, datastore, empty_database, postgres_server

__all__ = ["connection", "database", "datastore", "empty_database", "postgres_server"]
