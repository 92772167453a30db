//! `LoginSessionService`.

use std::time::Duration;

use tidings_proto_auth::v1::{
    GetLoginSessionRequest, ListLoginSessionsRequest, LoginResponse, LoginSession, RevokeLoginSessionRequest,
    RevokeUserLoginSessionsRequest, UpdateLoginSessionRequest,
};
use tidings_proto_common::v1::Permission;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::world::{World, bearing, bytes, eventually, refusal};

impl World {
    async fn see_session(&self, of: &LoginResponse, id: &str) -> Result<LoginSession, Status> {
        let request = GetLoginSessionRequest {
            login_session_id: id.to_owned(),
        };
        let response = self
            .login_sessions()
            .get_login_session(bearing(request, &of.access_token))
            .await?;
        Ok(response.into_inner().login_session.expect("always there"))
    }

    async fn list_sessions(
        &self,
        by: &LoginResponse,
        request: ListLoginSessionsRequest,
    ) -> Result<(Vec<LoginSession>, String), Status> {
        let response = self
            .login_sessions()
            .list_login_sessions(bearing(request, &by.access_token))
            .await?;
        let page = response.into_inner();
        Ok((page.login_sessions, page.next_page_token))
    }

    async fn relabel_session(
        &self,
        by: &LoginResponse,
        request: UpdateLoginSessionRequest,
    ) -> Result<Option<LoginSession>, Status> {
        let response = self
            .login_sessions()
            .update_login_session(bearing(request, &by.access_token))
            .await?;
        Ok(response.into_inner().login_session)
    }

    async fn revoke_session(&self, by: &LoginResponse, request: RevokeLoginSessionRequest) -> Result<(), Status> {
        let request = bearing(request, &by.access_token);
        self.login_sessions().revoke_login_session(request).await.map(|_| ())
    }

    async fn revoke_all_sessions(
        &self,
        by: &LoginResponse,
        request: RevokeUserLoginSessionsRequest,
    ) -> Result<i32, Status> {
        let request = bearing(request, &by.access_token);
        let response = self.login_sessions().revoke_user_login_sessions(request).await?;
        Ok(response.into_inner().revoked_count)
    }
}

fn label(id: &str, label: &str) -> UpdateLoginSessionRequest {
    UpdateLoginSessionRequest {
        login_session_id: id.to_owned(),
        device_label: label.to_owned(),
        ..UpdateLoginSessionRequest::default()
    }
}

fn revocation(id: &str) -> RevokeLoginSessionRequest {
    RevokeLoginSessionRequest {
        login_session_id: id.to_owned(),
        ..RevokeLoginSessionRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_where_they_are_logged_in() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let phone = world.login("ada").await.expect("logged in");
    let begun = world.source.now().unix_timestamp();
    world.source.advance(Duration::from_secs(60));
    let laptop = world
        .login_from("2001:db8:1:2ab::1", "ada", crate::world::PASSWORD, "")
        .await;
    let laptop = laptop.expect("logged in");
    let seen = world.see_session(&laptop, &phone.login_session_id).await.expect("own");
    assert_eq!((&seen.user_id, &*seen.device_label), (&user_id, "phone"));
    assert_eq!((seen.current, &*seen.client_prefix), (false, ""));
    assert_eq!(seen.create_time.expect("a time").seconds, begun);
    assert_eq!(seen.refresh_time, seen.create_time);
    assert_eq!(seen.expire_time.expect("a time").seconds, begun + 30 * 24 * 3_600);

    let (all, next) = world
        .list_sessions(&laptop, ListLoginSessionsRequest::default())
        .await
        .expect("listed");
    assert_eq!(next, "");
    assert_eq!(all[0], seen);
    let current = &all[1];
    assert!(current.current && current.login_session_id == laptop.login_session_id);
    assert_eq!(current.client_prefix, "2001:db8:1:200::/56");

    world.source.advance(Duration::from_secs(60));
    world.refresh(&phone.refresh_token, "").await.expect("refreshed");
    let refreshed = world.see_session(&laptop, &phone.login_session_id).await.expect("own");
    assert_eq!(refreshed.refresh_time.expect("a time").seconds, begun + 120);
    assert_eq!(refreshed.etag, seen.etag, "only the label changes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_shown_by_what_it_calls_itself() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let mut request = crate::world::from(
        tidings_proto_auth::v1::LoginRequest {
            identifier: "ada".to_owned(),
            password: crate::world::PASSWORD.to_owned(),
            ..Default::default()
        },
        "192.0.2.1",
    );
    let agent = format!("browser/1.0 {}", "x".repeat(300)).parse().expect("ASCII");
    request.metadata_mut().insert("x-tidings-agent", agent);
    let issued = world.auth().login(request).await.expect("logged in").into_inner();
    let seen = world.see_session(&issued, &issued.login_session_id).await.expect("own");
    assert!(seen.user_agent.starts_with("browser/1.0 xxx") && seen.user_agent.len() == 256);
    assert_eq!(seen.client_prefix, "192.0.2.0/24");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ones_own_is_as_absent() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    world.register("eve").await.expect("registered");
    let (ada, eve) = (
        world.login("ada").await.expect("logged in"),
        world.login("eve").await.expect("logged in"),
    );
    let ended = world.login("ada").await.expect("logged in");
    world.logout(&ended.access_token).await.expect("logged out");
    let operator = world.holder("boss", &[Permission::CredentialsManage]).await;
    let absent = world.request_id();
    let mut answers = Vec::new();
    for (by, id) in [
        (&ada, &absent),
        (&ada, &eve.login_session_id),
        (&ada, &ended.login_session_id),
        (&operator, &eve.login_session_id),
    ] {
        answers.push(bytes(&world.see_session(by, id).await.expect_err("not found")));
        answers.push(bytes(
            &world
                .relabel_session(by, label(id, "mine"))
                .await
                .expect_err("not found"),
        ));
        answers.push(bytes(
            &world.revoke_session(by, revocation(id)).await.expect_err("not found"),
        ));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, tonic::Code::NotFound);
    let seen = world.see_session(&eve, &eve.login_session_id).await.expect("untouched");
    assert_eq!(seen.device_label, "phone");
    for bad in ["", "nonsense"] {
        assert_eq!(refusal(world.see_session(&ada, bad).await), "FIELD_INVALID");
        assert_eq!(
            refusal(world.relabel_session(&ada, label(bad, "x")).await),
            "FIELD_INVALID"
        );
        assert_eq!(
            refusal(world.revoke_session(&ada, revocation(bad)).await),
            "FIELD_INVALID"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_others_are_for_operators() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let mut sessions = Vec::new();
    for _ in 0..5 {
        world.source.advance(Duration::from_millis(2));
        sessions.push(world.login("ada").await.expect("logged in"));
    }
    let operator = world.holder("boss", &[Permission::CredentialsManage]).await;
    let eve = world.holder("eve", &[]).await;
    let by_operator = ListLoginSessionsRequest {
        user_id: user_id.clone(),
        page_size: 2,
        ..ListLoginSessionsRequest::default()
    };
    let (mut found, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = ListLoginSessionsRequest {
            page_token: page_token.clone(),
            ..by_operator.clone()
        };
        let (page, next) = world.list_sessions(&operator, request).await.expect("listed");
        assert!(
            page.iter()
                .all(|session| !session.current && session.user_id == user_id)
        );
        found.extend(page.into_iter().map(|session| session.login_session_id));
        pages += 1;
        if next.is_empty() {
            break;
        }
        page_token = next;
    }
    let expected: Vec<_> = sessions.iter().map(|issued| issued.login_session_id.clone()).collect();
    assert_eq!((found, pages), (expected, 3));

    // A token is for who got it and for whom they asked.
    let stolen = ListLoginSessionsRequest {
        page_token: page_token.clone(),
        ..ListLoginSessionsRequest::default()
    };
    for by in [&operator, &sessions[0]] {
        assert_eq!(
            refusal(world.list_sessions(by, stolen.clone()).await),
            "PAGE_TOKEN_INVALID"
        );
    }
    let negative = ListLoginSessionsRequest {
        page_size: -1,
        ..ListLoginSessionsRequest::default()
    };
    assert_eq!(refusal(world.list_sessions(&operator, negative).await), "FIELD_INVALID");

    // Who may not see others' learns nothing of whether they are there.
    let absent = ListLoginSessionsRequest {
        user_id: world.request_id(),
        ..ListLoginSessionsRequest::default()
    };
    let refusals = [
        world.list_sessions(&eve, by_operator).await.expect_err("refused"),
        world.list_sessions(&eve, absent.clone()).await.expect_err("refused"),
    ];
    assert_eq!(bytes(&refusals[0]), bytes(&refusals[1]));
    let info = refusals[0].get_details_error_info().expect("always there");
    assert_eq!(info.reason, "PERMISSION_MISSING");
    assert_eq!(info.metadata["permission"], "CREDENTIALS_MANAGE");
    assert_eq!(refusal(world.list_sessions(&operator, absent).await), "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_is_changed_once_and_by_who_knows_the_etag() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let ada = world.login("ada").await.expect("logged in");
    let id = &ada.login_session_id;
    let first = world.see_session(&ada, id).await.expect("own");
    let request = UpdateLoginSessionRequest {
        etag: first.etag.clone(),
        request_id: world.request_id(),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["device_label".to_owned()],
        }),
        ..label(id, "my phone")
    };
    let changed = world
        .relabel_session(&ada, request.clone())
        .await
        .expect("changed")
        .expect("alive");
    assert_eq!(changed.device_label, "my phone");
    assert_ne!(changed.etag, first.etag);
    // A repetition changes nothing, though the etag is old by now; another call with it is refused.
    let other = world
        .relabel_session(&ada, label(id, "newer"))
        .await
        .expect("changed")
        .expect("alive");
    let repeated = world
        .relabel_session(&ada, request.clone())
        .await
        .expect("repeated")
        .expect("alive");
    assert_eq!(repeated, other);
    let old = UpdateLoginSessionRequest {
        request_id: String::new(),
        ..request.clone()
    };
    assert_eq!(refusal(world.relabel_session(&ada, old).await), "ETAG_MISMATCH");
    let reused = UpdateLoginSessionRequest {
        device_label: "else".to_owned(),
        ..request.clone()
    };
    assert_eq!(refusal(world.relabel_session(&ada, reused).await), "REQUEST_ID_REUSED");
    for paths in [vec!["user_id"], vec!["device_label", "nonsense"], vec!["*"]] {
        let bad = UpdateLoginSessionRequest {
            update_mask: Some(prost_types::FieldMask {
                paths: paths.into_iter().map(str::to_owned).collect(),
            }),
            ..label(id, "x")
        };
        assert_eq!(refusal(world.relabel_session(&ada, bad).await), "FIELD_INVALID");
    }
    for bad in ["a\nb", &"x".repeat(129)] {
        assert_eq!(
            refusal(world.relabel_session(&ada, label(id, bad)).await),
            "FIELD_INVALID"
        );
    }
    let emptied = UpdateLoginSessionRequest {
        request_id: String::new(),
        etag: String::new(),
        device_label: String::new(),
        ..request.clone()
    };
    let emptied = world
        .relabel_session(&ada, emptied)
        .await
        .expect("changed")
        .expect("alive");
    assert_eq!(emptied.device_label, "");
    let kept = world
        .relabel_session(&ada, label(id, ""))
        .await
        .expect("nothing named")
        .expect("alive");
    assert_eq!(kept, emptied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_login_session_is_over_on_every_node_within_a_second() {
    let world = World::open().await;
    let other = world.second_node().await;
    let user_id = world.register("ada").await.expect("registered");
    let (here, lost) = (
        world.login("ada").await.expect("logged in"),
        world.login("ada").await.expect("logged in"),
    );
    eventually("the other node knows the key", async || {
        other.verifier.verify(&lost.access_token).is_ok()
    })
    .await;
    let stale = RevokeLoginSessionRequest {
        etag: "99".to_owned(),
        ..revocation(&lost.login_session_id)
    };
    assert_eq!(refusal(world.revoke_session(&here, stale).await), "ETAG_MISMATCH");
    let request = RevokeLoginSessionRequest {
        request_id: world.request_id(),
        ..revocation(&lost.login_session_id)
    };
    world.revoke_session(&here, request.clone()).await.expect("revoked");
    other.refuses_ended(&lost.access_token).await;
    assert_eq!(
        refusal(other.refresh(&lost.refresh_token, "").await.map(|_| ())),
        "LOGIN_SESSION_REVOKED"
    );
    world.revoke_session(&here, request).await.expect("repeated");
    assert_eq!(
        refusal(world.revoke_session(&here, revocation(&lost.login_session_id)).await),
        "NOT_FOUND"
    );
    // Also that of the call.
    world
        .revoke_session(&here, revocation(&here.login_session_id))
        .await
        .expect("revoked");
    assert_eq!(refusal(world.logout(&here.access_token).await), "LOGIN_SESSION_REVOKED");
    assert_eq!(world.users.get(&user_id).expect("there").logged_in_until, None);
    let recorded: i64 =
        sqlx::query_scalar("select count(*) from auth.audit_events where action like '%/RevokeLoginSession'")
            .fetch_one(&world.pool)
            .await
            .expect("counted");
    assert_eq!(recorded, 2, "each effect once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_all_of_a_users_login_sessions_but_not_of_who_stands_above() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let operator = world.holder("boss", &[Permission::CredentialsManage]).await;
    let sessions = [
        world.login("ada").await.expect("logged in"),
        world.login("ada").await.expect("logged in"),
    ];
    let request = RevokeUserLoginSessionsRequest {
        user_id: user_id.clone(),
        request_id: world.request_id(),
    };
    assert_eq!(
        refusal(world.revoke_all_sessions(&sessions[0], request.clone()).await),
        "PERMISSION_MISSING"
    );
    let pair = (operator.user_id.clone(), user_id.clone());
    world.users.above.lock().insert(pair.clone());
    assert_eq!(
        refusal(world.revoke_all_sessions(&operator, request.clone()).await),
        "RANK_TOO_LOW"
    );
    assert!(world.verifier.verify(&sessions[0].access_token).is_ok());
    world.users.above.lock().remove(&pair);

    assert_eq!(
        world
            .revoke_all_sessions(&operator, request.clone())
            .await
            .expect("revoked"),
        2
    );
    for session in &sessions {
        assert_eq!(
            refusal(world.logout(&session.access_token).await),
            "LOGIN_SESSION_REVOKED"
        );
        let refused = world.refresh(&session.refresh_token, "").await.map(|_| ());
        assert_eq!(refusal(refused), "LOGIN_SESSION_REVOKED");
    }
    let later = world.login("ada").await.expect("may log in again");
    assert_eq!(
        world.revoke_all_sessions(&operator, request).await.expect("repeated"),
        0
    );
    assert!(
        world.verifier.verify(&later.access_token).is_ok(),
        "a repetition ends nothing new"
    );
    assert!(world.verifier.verify(&operator.access_token).is_ok());
    let absent = RevokeUserLoginSessionsRequest {
        user_id: world.request_id(),
        ..RevokeUserLoginSessionsRequest::default()
    };
    assert_eq!(refusal(world.revoke_all_sessions(&operator, absent).await), "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_login_session_too_many_ends_the_oldest() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let first = world.login("ada").await.expect("logged in");
    // 999 more, as if there had been time for them.
    sqlx::query(
        "insert into auth.login_sessions
             (login_session_id, user_id, device_label, leaf_hash, refresh_time, idle_expire_time, expire_time, create_time)
         select gen_random_uuid(), user_id, '', leaf_hash, refresh_time, idle_expire_time, expire_time,
             create_time + interval '1 second'
         from auth.login_sessions, generate_series(1, 999)",
    )
    .execute(&world.pool)
    .await
    .expect("stored");
    world
        .refresh(&first.refresh_token, "")
        .await
        .expect("as many as there may be");
    world.source.advance(std::time::Duration::from_secs(2));

    let last = world.login("ada").await.expect("logged in");
    let live = "select count(*) from auth.login_sessions where end_time is null";
    let live: i64 = sqlx::query_scalar(live).fetch_one(&world.pool).await.expect("counted");
    assert_eq!(live, 1_000);
    assert_eq!(world.count("revocations").await, 1);
    assert!(world.verifier.verify(&first.access_token).is_err(), "at once");
    assert_eq!(
        refusal(world.refresh(&first.refresh_token, "").await),
        "LOGIN_SESSION_REVOKED"
    );
    world.refresh(&last.refresh_token, "").await.expect("the newest lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_accounts_tokens_are_not_said_to_have_ended() {
    let world = World::open().await;
    let (_, bot) = world.bot(&[Permission::ChatsCreate]).await;
    let operator = world.holder("operator", &[Permission::CredentialsManage]).await;
    let request = RevokeUserLoginSessionsRequest {
        user_id: bot,
        ..RevokeUserLoginSessionsRequest::default()
    };
    assert_eq!(
        refusal(world.revoke_all_sessions(&operator, request).await),
        "KIND_UNSUITABLE"
    );
}
