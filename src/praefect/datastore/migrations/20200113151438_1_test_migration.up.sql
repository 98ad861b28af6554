INSERT INTO hello_world (id) VALUES (1);
