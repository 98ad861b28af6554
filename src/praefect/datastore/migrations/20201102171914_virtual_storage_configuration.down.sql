DROP TABLE virtual_storages;
