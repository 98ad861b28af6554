"""Migrations of the schema ``praefect_own``, which other Praefects on a database do not know."""
