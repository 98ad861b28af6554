DROP TABLE praefect_own.doubts;

DROP TABLE praefect_own.leases;
