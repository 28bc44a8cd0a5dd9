-- Lists go by what every copy of the rows has in common: a row's number is its copy's own.
DROP INDEX memory_newest;
DROP INDEX memory_newest_all;
CREATE INDEX memory_newest ON memory (namespace, user_id, create_time, memory_id);
CREATE INDEX memory_newest_all ON memory (namespace, create_time, memory_id);
