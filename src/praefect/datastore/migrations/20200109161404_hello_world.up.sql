-- The row that the next migration adds is read and written to see whether the database works.
CREATE TABLE hello_world (id integer);
