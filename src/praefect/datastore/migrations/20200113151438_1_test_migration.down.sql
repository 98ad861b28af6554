DELETE FROM hello_world WHERE id = 1;
