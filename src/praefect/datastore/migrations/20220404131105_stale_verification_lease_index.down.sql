DROP INDEX verification_leases;
