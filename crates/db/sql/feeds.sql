-- One row a feed: the last number given out. A table and not a sequence, because a reader must never see 7 before 6; the row is
-- locked until the transaction that takes a number ends. (tidings-db, counter.rs)
create table {schema}.feeds (
    feed text not null,
    last_number bigint not null,
    constraint feeds_pkey primary key (feed),
    constraint feeds_last_number_check check (last_number > 0)
);
