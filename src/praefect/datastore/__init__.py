"""All of Praefect's SQL: one module per group of tables, queries in queries/*.sql, migrations in migrations/*.sql."""
