use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{
    ActivateUserRequest, BatchGetUsersRequest, CreateUserRequest, GetCurrentUserRequest, GetUserRequest,
    UpdateUserRequest, User,
};

use crate::support::{Actor, World, detail, reason, wrong_fields};

async fn get(world: &World, caller: &Actor, whom: &Actor) -> User {
    let request = GetUserRequest {
        user_id: whom.user_id.to_string(),
    };
    world
        .users()
        .get_user(caller.asks(request))
        .await
        .expect("a user")
        .into_inner()
        .user
        .expect("a user")
}

fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    })
}

#[tokio::test]
async fn the_address_is_shown_to_oneself_and_to_who_may_read_private_data() {
    let world = World::begin().await;
    let (ada, bob, admin) = (
        world.register("ada", &[]).await,
        world.register("bob", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    assert_eq!(get(&world, &ada, &ada).await.email, "ada@example.org");
    assert_eq!(get(&world, &admin, &ada).await.email, "ada@example.org");
    let seen = get(&world, &bob, &ada).await;
    assert_eq!(
        (seen.email.as_str(), seen.roles.len(), seen.username.as_str()),
        ("", 0, "ada")
    );
    assert_eq!(get(&world, &ada, &ada).await.roles, ["member"]);
    assert_eq!(get(&world, &admin, &ada).await.roles, ["member"]);
}

#[tokio::test]
async fn the_current_user_is_the_caller() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let user = world
        .users()
        .get_current_user(ada.asks(GetCurrentUserRequest {}))
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!(
        (user.user_id, user.display_name),
        (ada.user_id.to_string(), "ADA".to_owned())
    );
}

#[tokio::test]
async fn users_are_fetched_in_the_order_of_the_request_each_once() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    let fetch = async |user_ids: Vec<String>| {
        let found = world
            .users()
            .batch_get_users(ada.asks(BatchGetUsersRequest { user_ids }))
            .await;
        found.map(|users| {
            users
                .into_inner()
                .users
                .into_iter()
                .map(|user| user.username)
                .collect::<Vec<_>>()
        })
    };
    let (a, b) = (ada.user_id.to_string(), bob.user_id.to_string());
    assert_eq!(
        fetch(vec![b.clone(), world.absent(), a.clone(), b.clone()])
            .await
            .unwrap(),
        ["bob", "ada"]
    );
    assert_eq!(wrong_fields(fetch(vec![]).await), ["user_ids"]);
    assert_eq!(
        wrong_fields(fetch(vec![a.clone(), "x".to_owned()]).await),
        ["user_ids[1]"]
    );
    assert_eq!(wrong_fields(fetch(vec![a; 201]).await), ["user_ids"]);
}

#[tokio::test]
async fn one_changes_ones_own_profile() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let before = get(&world, &ada, &ada).await;
    let request = UpdateUserRequest {
        display_name: "Ada Lovelace".to_owned(),
        bio: "Poetical\nscience 👩‍💻".to_owned(),
        avatar_url: "https://example.org/a.png".to_owned(),
        metadata: [("k".to_owned(), "v\u{1F600}".to_owned())].into(),
        etag: before.etag.clone(),
        ..UpdateUserRequest::default()
    };
    let after = world
        .users()
        .update_user(ada.asks(request.clone()))
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!((&after.display_name, &after.bio), (&request.display_name, &request.bio));
    assert_eq!(
        (&after.avatar_url, &after.metadata),
        (&request.avatar_url, &request.metadata)
    );
    assert_ne!(after.etag, before.etag);
    assert_eq!(get(&world, &ada, &ada).await, after);

    let stale = UpdateUserRequest {
        bio: "again".to_owned(),
        ..request
    };
    assert_eq!(
        reason(world.users().update_user(ada.asks(stale)).await),
        R::EtagMismatch
    );

    let clear = UpdateUserRequest {
        update_mask: mask(&["bio", "metadata"]),
        ..UpdateUserRequest::default()
    };
    let cleared = world
        .users()
        .update_user(ada.asks(clear))
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!(
        (cleared.bio.as_str(), cleared.metadata.len(), cleared.display_name),
        ("", 0, after.display_name)
    );
}

#[tokio::test]
async fn others_profiles_are_for_who_manages_users() {
    let world = World::begin().await;
    let (ada, bob, admin) = (
        world.register("ada", &[]).await,
        world.register("bob", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    let request = UpdateUserRequest {
        user_id: ada.user_id.to_string(),
        bio: "x".to_owned(),
        ..UpdateUserRequest::default()
    };
    let refused = world.users().update_user(bob.asks(request.clone())).await;
    assert_eq!(detail(&refused, "permission"), "USERS_MANAGE");
    assert_eq!(reason(refused), R::PermissionMissing);
    world.users().update_user(admin.asks(request.clone())).await.unwrap();
    assert_eq!(get(&world, &bob, &ada).await.bio, "x");

    for caller in [&bob, &admin] {
        let absent = UpdateUserRequest {
            user_id: world.absent(),
            ..request.clone()
        };
        assert_eq!(
            reason(world.users().update_user(caller.asks(absent)).await),
            R::NotFound
        );
    }
}

#[tokio::test]
async fn external_ids_are_given_by_who_manages_users_and_are_unique() {
    let world = World::begin().await;
    let (ada, admin) = (
        world.register("ada", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    let own = UpdateUserRequest {
        external_id: "crm-1".to_owned(),
        ..UpdateUserRequest::default()
    };
    assert_eq!(
        reason(world.users().update_user(ada.asks(own.clone())).await),
        R::PermissionMissing
    );
    let masked = UpdateUserRequest {
        update_mask: mask(&["external_id"]),
        ..UpdateUserRequest::default()
    };
    assert_eq!(
        reason(world.users().update_user(ada.asks(masked.clone())).await),
        R::PermissionMissing
    );

    let for_ada = UpdateUserRequest {
        user_id: ada.user_id.to_string(),
        ..own.clone()
    };
    let user = world
        .users()
        .update_user(admin.asks(for_ada))
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!(user.external_id, "crm-1");
    assert_eq!(
        reason(world.users().update_user(admin.asks(own.clone())).await),
        R::NameTaken
    );
    let free = UpdateUserRequest {
        user_id: ada.user_id.to_string(),
        ..masked
    };
    world.users().update_user(admin.asks(free)).await.unwrap();
    world.users().update_user(admin.asks(own)).await.expect("free again");
}

#[tokio::test]
async fn nobody_gives_anybody_the_id_of_an_issuers_user() {
    let world = World::begin().await;
    let (ada, admin) = (
        world.register("ada", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    let link = |user: &Actor, external_id: &str| UpdateUserRequest {
        user_id: user.user_id.to_string(),
        external_id: external_id.to_owned(),
        update_mask: mask(&["external_id"]),
        ..UpdateUserRequest::default()
    };
    for target in [&ada, &admin] {
        for forged in ["oidc:abc", "oidc:"] {
            let refused = world.users().update_user(admin.asks(link(target, forged))).await;
            assert_eq!(wrong_fields(refused), ["external_id"], "{forged}");
        }
    }
    let refused = world.users().update_user(ada.asks(link(&ada, "oidc:abc"))).await;
    assert_eq!(reason(refused), R::PermissionMissing, "not told more than before");
    assert_eq!(get(&world, &admin, &ada).await.external_id, "");

    // Auth gives it, and it can be sent back or taken away.
    let foreigner = CreateUserRequest {
        email: String::new(),
        external_id: "oidc:abc".to_owned(),
        ..world.registration("bob")
    };
    let user_id = foreigner.user_id.clone();
    world.provisioning().create_user(foreigner).await.expect("created");
    let activate = ActivateUserRequest {
        user_id: user_id.clone(),
        email_verified: false,
    };
    world.provisioning().activate_user(activate).await.expect("activated");
    let bob = world.log_in(user_id.parse().expect("an id")).await;
    for (external_id, taken) in [("oidc:abc", true), ("oidc:abd", false), ("", true), ("oidc:abc", false)] {
        let outcome = world.users().update_user(admin.asks(link(&bob, external_id))).await;
        assert_eq!(outcome.is_ok(), taken, "{external_id:?}");
        if !taken {
            assert_eq!(wrong_fields(outcome), ["external_id"], "{external_id:?}");
        }
    }
}

#[tokio::test]
async fn wrong_fields_and_paths_change_nothing() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let before = get(&world, &ada, &ada).await;
    let request = UpdateUserRequest {
        display_name: "\u{200B}".to_owned(),
        bio: "a\u{1b}[31m".to_owned(),
        avatar_url: "javascript:alert(1)".to_owned(),
        metadata: [("k".to_owned(), "\0".to_owned())].into(),
        request_id: "x".to_owned(),
        ..UpdateUserRequest::default()
    };
    let fields = wrong_fields(world.users().update_user(ada.asks(request)).await);
    assert_eq!(fields, ["request_id", "display_name", "bio", "avatar_url", "metadata"]);

    for path in [
        "*",
        "username",
        "email",
        "email_verified",
        "roles",
        "user_id",
        "displayName",
        "metadata.k",
        "",
    ] {
        let request = UpdateUserRequest {
            update_mask: mask(&["bio", path]),
            ..UpdateUserRequest::default()
        };
        assert_eq!(
            wrong_fields(world.users().update_user(ada.asks(request)).await),
            ["update_mask.paths[1]"],
            "{path:?}"
        );
    }
    let empty = UpdateUserRequest {
        update_mask: mask(&["display_name"]),
        ..UpdateUserRequest::default()
    };
    assert_eq!(
        wrong_fields(world.users().update_user(ada.asks(empty)).await),
        ["display_name"]
    );
    assert_eq!(get(&world, &ada, &ada).await, before);
}

#[tokio::test]
async fn a_deleted_user_shows_only_as_deleted() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    sqlx::query("update users.users set status = 'deleted' where user_id = $1")
        .bind(ada.user_id.uuid())
        .execute(&world.pool())
        .await
        .unwrap();
    let expected = User {
        user_id: ada.user_id.to_string(),
        deleted: true,
        ..User::default()
    };
    assert_eq!(get(&world, &bob, &ada).await, expected);
    let update = UpdateUserRequest {
        bio: "x".to_owned(),
        ..UpdateUserRequest::default()
    };
    assert_eq!(
        reason(world.users().update_user(ada.asks(update)).await),
        R::LoginSessionRevoked
    );
}
