//! Finding users whom one has not met.

use tidings_proto_common::v1::{ErrorReason as R, Permission};
use tidings_proto_user::v1::{
    DeleteUserRequest, LookupUserRequest, SearchUsersRequest, SuspendUserRequest, UpdateUserRequest, User,
    lookup_user_request::Key,
};
use tonic::Status;

use crate::support::{Actor, World, detail, reason, until, wrong_fields};

async fn look_up(world: &World, by: &Actor, key: Option<Key>) -> Result<User, Status> {
    let response = world.users().lookup_user(by.asks(LookupUserRequest { key })).await?;
    Ok(response.into_inner().user.expect("a user"))
}

/// All names that a query finds, a page of `page_size` at a time.
async fn search(world: &World, by: &Actor, query: &str, page_size: i32) -> Result<Vec<String>, Status> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    for _ in 0..1_000 {
        let request = SearchUsersRequest {
            query: query.to_owned(),
            page_size,
            page_token,
        };
        let page = world.users().search_users(by.asks(request)).await?.into_inner();
        names.extend(page.users.into_iter().map(|user| user.username));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(names);
        }
    }
    panic!("the pages of {query:?} have no end");
}

async fn display(world: &World, who: &Actor, display_name: &str) {
    let request = UpdateUserRequest {
        display_name: display_name.to_owned(),
        ..UpdateUserRequest::default()
    };
    world.users().update_user(who.asks(request)).await.expect("renamed");
}

#[tokio::test]
async fn users_are_looked_up_by_exact_keys_as_far_as_one_may() {
    let world = World::begin().await;
    let (ada, admin) = (
        world.register("ada", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    let request = UpdateUserRequest {
        user_id: ada.user_id.to_string(),
        external_id: "crm-1".to_owned(),
        ..UpdateUserRequest::default()
    };
    world
        .users()
        .update_user(admin.asks(request))
        .await
        .expect("an external id");
    world.role(&admin, "importer", &[Permission::UserTokensCreate]).await;
    let (bob, importer) = (
        world.register("bob", &[]).await,
        world.register("ivo", &["importer"]).await,
    );
    let id = ada.user_id.to_string();
    let username = |text: &str| Some(Key::Username(text.to_owned()));
    let email = |text: &str| Some(Key::Email(text.to_owned()));
    let external_id = |text: &str| Some(Key::ExternalId(text.to_owned()));

    for text in ["ada", "ADA"] {
        assert_eq!(look_up(&world, &bob, username(text)).await.expect("found").user_id, id);
    }
    assert_eq!(look_up(&world, &bob, username("ada")).await.expect("found").email, "");
    assert_eq!(
        look_up(&world, &admin, email("Ada@Example.ORG"))
            .await
            .expect("found")
            .user_id,
        id
    );
    for caller in [&admin, &importer] {
        assert_eq!(
            look_up(&world, caller, external_id("crm-1"))
                .await
                .expect("found")
                .user_id,
            id
        );
    }
    for caller in [&bob, &importer] {
        for address in ["ada@example.org", "absent@example.org"] {
            let refused = look_up(&world, caller, email(address)).await;
            assert_eq!(detail(&refused, "permission"), "USERS_READ_PRIVATE");
            assert_eq!(reason(refused), R::PermissionMissing);
        }
    }
    for text in ["crm-1", "crm-2"] {
        assert_eq!(
            reason(look_up(&world, &bob, external_id(text)).await),
            R::PermissionMissing
        );
    }
    for text in ["ad", "ada%", "ad_", "adaa"] {
        let refused = look_up(&world, &bob, username(text)).await;
        if text.contains('%') {
            assert_eq!(wrong_fields(refused), ["username"]);
        } else {
            assert_eq!(reason(refused), R::NotFound, "{text}");
        }
    }
    assert_eq!(reason(look_up(&world, &admin, external_id("CRM-1")).await), R::NotFound);
    assert_eq!(wrong_fields(look_up(&world, &bob, None).await), ["key"]);
    assert_eq!(
        wrong_fields(look_up(&world, &admin, email("nonsense")).await),
        ["email"]
    );
    assert_eq!(
        wrong_fields(look_up(&world, &admin, external_id("")).await),
        ["external_id"]
    );
    assert_eq!(
        wrong_fields(look_up(&world, &admin, external_id("a\0")).await),
        ["external_id"]
    );
}

#[tokio::test]
async fn absent_pending_and_deleted_users_are_not_found_alike() {
    let world = World::begin().await;
    let (ada, admin) = (
        world.register("ada", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    world
        .provisioning()
        .create_user(world.registration("pia"))
        .await
        .expect("pending");
    world
        .users()
        .delete_user(ada.asks(DeleteUserRequest::default()))
        .await
        .expect("deleted");
    let mut answers = Vec::new();
    for name in ["ada", "pia", "nobody.there"] {
        let status = look_up(&world, &admin, Some(Key::Username(name.to_owned())))
            .await
            .expect_err("not found");
        answers.push((status.code(), status.message().to_owned(), status.details().to_vec()));
        assert_eq!(
            search(&world, &admin, name, 0).await.unwrap(),
            Vec::<String>::new(),
            "{name}"
        );
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn users_are_found_by_the_beginnings_of_their_words() {
    let world = World::begin().await;
    let (ada, adam, bob, zoe) = (
        world.register("ada.lovelace", &[]).await,
        world.register("adam", &[]).await,
        world.register("bob", &[]).await,
        world.register("zoe", &[]).await,
    );
    display(&world, &ada, "Countess of Lovelace").await;
    display(&world, &adam, "Adam Ant").await;
    display(&world, &bob, "Émile ADAMS").await;
    display(&world, &zoe, "100% Zoë_山田 太郎").await;
    let found = async |query: &str| search(&world, &zoe, query, 0).await.unwrap();
    assert_eq!(
        found("ada").await,
        ["ada.lovelace", "adam", "bob"],
        "in order of the words"
    );
    assert_eq!(found("ADAM").await, ["adam", "bob"]);
    assert_eq!(
        found("a").await,
        ["ada.lovelace", "adam", "bob"],
        "each once, whatever else of it begins so"
    );
    assert_eq!(found("love").await, ["ada.lovelace"]);
    assert_eq!(found("cou ada").await, ["ada.lovelace"]);
    assert_eq!(found("ada cou").await, ["ada.lovelace"]);
    assert_eq!(found("ada zzz").await, Vec::<String>::new());
    assert_eq!(found("émi").await, ["bob"]);
    assert_eq!(found("ÉMILE").await, ["bob"]);
    assert_eq!(found("山").await, ["zoe"]);
    assert_eq!(found("太郎 100").await, ["zoe"]);
    assert_eq!(
        found("dam").await,
        Vec::<String>::new(),
        "words begin with it, or are not found"
    );
    assert_eq!(
        found("bob@example.org").await,
        Vec::<String>::new(),
        "addresses are not looked at"
    );
}

#[tokio::test]
async fn signs_of_patterns_mean_nothing() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    for query in ["a%d", "a_d", "%d%", "a\\d", "_da", "d*", "ad?d", ".da"] {
        let found = search(&world, &ada, query, 0).await.unwrap();
        assert_eq!(found, Vec::<String>::new(), "{query:?}");
    }
    let found = search(&world, &ada, "%a%", 0).await.unwrap();
    assert_eq!(found, ["ada"], "as 'a' does");
    for query in ["%", "_", "\0", "", &"a".repeat(129)] {
        let refused = search(&world, &ada, query, 0).await;
        assert_eq!(wrong_fields(refused), ["query"], "{query:?}");
    }
    let injection = "ada' or 1=1; drop table users.users; --";
    let found = search(&world, &ada, injection, 0).await.unwrap();
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps_or_repetitions() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    let mut expected = Vec::new();
    for index in 0..12 {
        let name = format!("kim{index:02}");
        let kim = world.register(&name, &[]).await;
        // A second word that is found by, too: nobody comes twice for it.
        display(&world, &kim, &format!("Kimmy {}", 12 - index)).await;
        expected.push(name);
    }
    for page_size in [1, 5, 12, 200] {
        assert_eq!(
            search(&world, &ruth, "kim", page_size).await.unwrap(),
            expected,
            "{page_size}"
        );
    }
    let first = SearchUsersRequest {
        query: "kim".to_owned(),
        page_size: 5,
        page_token: String::new(),
    };
    let page = world
        .users()
        .search_users(ruth.asks(first.clone()))
        .await
        .unwrap()
        .into_inner();
    let with = |query: &str, page_token: &str| SearchUsersRequest {
        query: query.to_owned(),
        page_size: 5,
        page_token: page_token.to_owned(),
    };
    let other_query = world
        .users()
        .search_users(ruth.asks(with("kimm", &page.next_page_token)))
        .await;
    assert_eq!(reason(other_query), R::PageTokenInvalid);
    let kim = world.register("kimberly", &[]).await;
    let others = world
        .users()
        .search_users(kim.asks(with("kim", &page.next_page_token)))
        .await;
    assert_eq!(reason(others), R::PageTokenInvalid);
    let negative = SearchUsersRequest { page_size: -1, ..first };
    assert_eq!(
        wrong_fields(world.users().search_users(kim.asks(negative)).await),
        ["page_size"]
    );
}

#[tokio::test]
async fn a_call_looks_at_so_many_words_and_goes_on_in_the_next() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    sqlx::raw_sql(
        "insert into users.users (user_id, status, username, display_name, bio, is_bot, create_time, state_time, search_text)
         select gen_random_uuid(), 'active', 'm' || n, 'm' || n, '', false, now(), now(), 'm' || n || E'\\n' || 'm' || n
         from generate_series(10000, 15000) n;
         insert into users.search_words (word, user_id) select username, user_id from users.users where username like 'm1%';
         insert into users.search_words (word, user_id) select 'x', user_id from users.users where username in ('m14998', 'm10001')",
    )
    .execute(&world.pool())
    .await
    .unwrap();
    assert_eq!(search(&world, &ruth, "m1 x", 50).await.unwrap(), ["m10001", "m14998"]);
    let request = SearchUsersRequest {
        query: "m1 y".to_owned(),
        ..SearchUsersRequest::default()
    };
    let page = world
        .users()
        .search_users(ruth.asks(request))
        .await
        .unwrap()
        .into_inner();
    assert!(
        page.users.is_empty() && !page.next_page_token.is_empty(),
        "it may hold none though there is another page"
    );
    assert_eq!(search(&world, &ruth, "m1 y", 50).await.unwrap(), Vec::<String>::new());
    assert_eq!(search(&world, &ruth, "m", 200).await.unwrap().len(), 5_001);
}

#[tokio::test]
async fn the_suspended_are_found_and_those_who_may_not_list_find_nobody() {
    let world = World::begin().await;
    let (ada, admin) = (
        world.register("ada", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    let bot = world.register("robo", &["bot"]).await;
    let refused = search(&world, &bot, "ada", 0).await;
    assert_eq!(detail(&refused, "permission"), "USERS_LIST");
    assert_eq!(reason(refused), R::PermissionMissing);
    let request = SuspendUserRequest {
        user_id: ada.user_id.to_string(),
        ..SuspendUserRequest::default()
    };
    world
        .users()
        .suspend_user(admin.asks(request))
        .await
        .expect("suspended");
    assert_eq!(search(&world, &admin, "ada", 0).await.unwrap(), ["ada"]);
}

#[tokio::test]
async fn users_from_before_there_were_words_become_found() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    sqlx::raw_sql("delete from users.search_words; update users.users set search_text = null")
        .execute(&world.pool())
        .await
        .unwrap();
    assert_eq!(search(&world, &ada, "ada", 0).await.unwrap(), Vec::<String>::new());
    for work in world.service.background() {
        world.environment.drain.spawn(work);
    }
    until("the words of users", async || {
        !search(&world, &ada, "ada", 0).await.unwrap().is_empty()
    })
    .await;
}
