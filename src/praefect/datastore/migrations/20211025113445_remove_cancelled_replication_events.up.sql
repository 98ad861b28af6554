DELETE FROM replication_queue WHERE state = 'cancelled';
