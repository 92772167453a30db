-- The words that users are found by, as src/search.rs parts and folds them. Of users who are seen, and no others. In the collation "C",
-- so that the words with one beginning stand together.
create table users.search_words (
    word text collate "C" not null,
    user_id uuid not null,
    constraint search_words_pkey primary key (word, user_id),
    constraint search_words_user_id_fkey foreign key (user_id) references users.users (user_id) on delete cascade
);

create index search_words_user_id_idx on users.search_words (user_id, word);
