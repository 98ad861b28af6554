DROP TABLE hello_world;
