-- For the end of old log entries: rows stand in the order of time, so block range indexes are enough, and cost a send nothing.

create index changes_create_time_idx on messages.changes using brin (create_time) with (pages_per_range = 32);
create index user_changes_create_time_idx on messages.user_changes using brin (create_time) with (pages_per_range = 32);
