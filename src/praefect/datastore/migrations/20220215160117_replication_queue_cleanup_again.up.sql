DELETE FROM replication_queue WHERE state IN ('dead', 'completed');
