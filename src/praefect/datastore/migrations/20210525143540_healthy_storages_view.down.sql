DROP VIEW healthy_storages;
