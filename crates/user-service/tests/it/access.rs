//! What `AccessService` says. That it says what the RPCs do is in `rank.rs`, for every actor, target and action.

use tidings_proto_common::v1::{ErrorReason as R, Permission as P};
use tidings_proto_user::v1::{
    AccessDecision, AccessQuery, AccessRule as Rule, ActivateUserRequest, BatchCheckAccessRequest, CheckAccessRequest,
    CreateUserRequest, DeleteUserRequest, ExplainAccessRequest, ExplainAccessResponse, ListPermissionsRequest,
    SuspendUserRequest, UserStatus, access_query::Action,
};
use tonic::Status;

use crate::support::{Actor, World, detail, reason, wrong_fields};

const ADMIN: &str = "00000000-0000-7000-8000-000000000001";

fn permission(permission: P) -> AccessQuery {
    AccessQuery {
        action: Some(Action::Permission(permission.into())),
        ..AccessQuery::default()
    }
}

fn method(name: &str) -> AccessQuery {
    AccessQuery {
        action: Some(Action::Method(name.to_owned())),
        ..AccessQuery::default()
    }
}

async fn check(world: &World, caller: &Actor, query: AccessQuery) -> Result<AccessDecision, Status> {
    let request = CheckAccessRequest { query: Some(query) };
    let checked = world.access().check_access(caller.asks(request)).await?;
    Ok(checked.into_inner().decision.expect("a decision"))
}

async fn explain(world: &World, caller: &Actor, query: AccessQuery) -> ExplainAccessResponse {
    let decision = check(world, caller, query.clone()).await.expect("decided");
    let request = ExplainAccessRequest { query: Some(query) };
    let explained = world.access().explain_access(caller.asks(request)).await;
    let explained = explained.expect("explained").into_inner();
    assert_eq!(explained.decision, Some(decision), "the same answer");
    let last = explained.findings.last().expect("a rule");
    assert_eq!(last.met, decision.allowed, "the last rule is what decides");
    let before = &explained.findings[..explained.findings.len() - 1];
    assert!(before.iter().all(|finding| finding.met));
    explained
}

fn rules(explained: &ExplainAccessResponse) -> Vec<Rule> {
    explained.findings.iter().map(|finding| finding.rule()).collect()
}

#[tokio::test]
async fn everybody_asks_about_themselves() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let allowed = check(&world, &ada, permission(P::GroupsCreate)).await.unwrap();
    assert_eq!(
        allowed,
        AccessDecision {
            allowed: true,
            ..AccessDecision::default()
        }
    );

    let refused = check(&world, &ada, permission(P::RolesManage)).await.unwrap();
    assert!(!refused.allowed);
    assert_eq!(
        (refused.reason(), refused.missing_permission()),
        (R::PermissionMissing, P::RolesManage)
    );
    let by_name = check(&world, &ada, method("tidings.user.v1.RoleService/CreateRole")).await;
    assert_eq!(by_name.unwrap(), refused);
    let of_another = check(&world, &ada, method("tidings.chat.v1.GroupService/CreateGroup")).await;
    assert_eq!(of_another.unwrap(), allowed, "an RPC of another service");
}

#[tokio::test]
async fn about_others_asks_who_may() {
    let world = World::begin().await;
    let (ruth, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let about = |user_id: String| AccessQuery {
        user_id,
        ..permission(P::RolesManage)
    };
    let decision = check(&world, &ruth, about(ada.user_id.to_string())).await.unwrap();
    assert_eq!(decision.reason(), R::PermissionMissing);

    for user_id in [ruth.user_id.to_string(), world.absent()] {
        let refused = check(&world, &ada, about(user_id)).await;
        assert_eq!(detail(&refused, "permission"), "ACCESS_READ");
        assert_eq!(reason(refused), R::PermissionMissing);
    }
    check(&world, &ada, about(ada.user_id.to_string()))
        .await
        .expect("oneself");

    let pending = world.registration("bob");
    world.provisioning().create_user(pending.clone()).await.unwrap();
    for user_id in [world.absent(), pending.user_id] {
        assert_eq!(reason(check(&world, &ruth, about(user_id)).await), R::NotFound);
    }
}

#[tokio::test]
async fn an_explanation_names_every_rule_in_order() {
    let world = World::begin().await;
    let (ruth, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    let allowed = [P::RolesRead, P::RolesManage];
    let clerk_role = world.ranked_role(&ruth, "clerk", &allowed, 100).await;
    world.ranked_role(&ruth, "crown", &[], 700).await;
    let clerk = world.register("carl", &["clerk", "member"]).await;
    let crowned = world.register("karl", &["crown"]).await;

    let assign = |user_id: &str, role_id: &str| AccessQuery {
        target_user_id: user_id.to_owned(),
        target_role_id: role_id.to_owned(),
        ..method("tidings.user.v1.RoleService/AssignRole")
    };
    let (ada_id, crowned_id, clerk_role) = (
        ada.user_id.to_string(),
        crowned.user_id.to_string(),
        clerk_role.to_string(),
    );
    let granted = explain(&world, &clerk, assign(&ada_id, &clerk_role)).await;
    assert_eq!(
        rules(&granted),
        [
            Rule::MethodOffered,
            Rule::AccountActive,
            Rule::PermissionHeld,
            Rule::PermissionInToken,
            Rule::RoleExists,
            Rule::UserExists,
            Rule::GrantHeld,
            Rule::RankReachesRole,
            Rule::RankReachesUser,
        ]
    );
    assert_eq!(granted.findings[1].status(), UserStatus::Active);
    let held: Vec<_> = granted.findings[2]
        .roles
        .iter()
        .map(|role| (role.name.as_str(), role.rank, role.grants))
        .collect();
    assert_eq!(held, [("member", 0, false), ("clerk", 100, true)]);

    let too_high = explain(&world, &clerk, assign(&crowned_id, &clerk_role)).await;
    let last = too_high.findings.last().unwrap();
    assert_eq!(
        (last.rule(), last.actor_rank, last.target_rank),
        (Rule::RankReachesUser, 100, 700)
    );
    assert_eq!(too_high.decision.unwrap().reason(), R::RankTooLow);

    let too_much = explain(&world, &clerk, assign(&ada_id, ADMIN)).await;
    let last = too_much.findings.last().unwrap();
    assert_eq!((last.rule(), last.permission()), (Rule::GrantHeld, P::UsersReadPrivate));

    let nobody = explain(&world, &clerk, assign(&world.absent(), &clerk_role)).await;
    assert_eq!(nobody.findings.last().unwrap().rule(), Rule::UserExists);
    assert_eq!(nobody.decision.unwrap().reason(), R::NotFound);

    let open = explain(&world, &clerk, assign("", "")).await;
    assert_eq!(
        rules(&open).last(),
        Some(&Rule::PermissionInToken),
        "the rest is left open"
    );
}

#[tokio::test]
async fn how_high_others_stand_is_told_to_who_may_see_their_roles() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    world.ranked_role(&ruth, "desk", &[P::UsersManage], 100).await;
    world.ranked_role(&ruth, "reader", &[P::RolesRead], 0).await;
    let desk = world.register("dora", &["desk"]).await;
    let lead = world.register("lena", &["desk", "reader"]).await;
    let ada = world.register("ada", &[]).await;
    let on = |target: &Actor, query: AccessQuery| AccessQuery {
        target_user_id: target.user_id.to_string(),
        ..query
    };
    let suspend = method("tidings.user.v1.UserService/SuspendUser");

    // Whoever lacks the permission is told that, and nothing of the other.
    for query in [permission(P::UsersManage), suspend.clone()] {
        let refused = explain(&world, &ada, on(&ruth, query)).await;
        assert_eq!(refused.findings.last().unwrap().rule(), Rule::PermissionHeld);
        assert_eq!(refused.decision.unwrap().reason(), R::PermissionMissing);
    }
    for query in [permission(P::UsersManage), suspend] {
        for (asker, (target, met), ranks) in [
            (&desk, (&ruth, false), (0, 0)),
            (&desk, (&ada, true), (0, 0)),
            (&desk, (&desk, true), (100, 100)),
            (&lead, (&ruth, false), (100, 1_000)),
            (&lead, (&ada, true), (100, 0)),
        ] {
            let explained = explain(&world, asker, on(target, query.clone())).await;
            let mut findings = explained.findings.iter();
            let told = findings.find(|finding| finding.rule() == Rule::RankReachesUser);
            let told = told.expect("the rule");
            assert_eq!((told.met, (told.actor_rank, told.target_rank)), (met, ranks));
        }
    }
}

#[tokio::test]
async fn a_permission_that_is_not_about_accounts_does_not_look_at_ranks() {
    let world = World::begin().await;
    let (ruth, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    for target_user_id in [ruth.user_id.to_string(), world.absent()] {
        for number in [P::ChatsCreate, P::GroupsCreate, P::UsersList] {
            let query = AccessQuery {
                target_user_id: target_user_id.clone(),
                ..permission(number)
            };
            let explained = explain(&world, &ada, query).await;
            assert!(explained.decision.unwrap().allowed, "{number:?}");
            assert_eq!(
                rules(&explained),
                [Rule::AccountActive, Rule::PermissionHeld, Rule::PermissionInToken]
            );
        }
    }
    for number in [
        P::UsersManage,
        P::RolesManage,
        P::CredentialsManage,
        P::ServiceAccountsManage,
        P::UserTokensCreate,
    ] {
        let name = format!("only-{}", number as i32);
        world.ranked_role(&ruth, &name, &[number], 0).await;
        let manager = world.register(&name, &[&name]).await;
        for (target, expected) in [(&ruth, R::RankTooLow), (&ada, R::Unspecified)] {
            let query = AccessQuery {
                target_user_id: target.user_id.to_string(),
                ..permission(number)
            };
            let decision = check(&world, &manager, query).await.unwrap();
            assert_eq!(decision.reason(), expected, "{number:?}");
        }
    }
}

/// A bot with these roles: a service account, or one of the operator's, which has an address.
async fn bot(world: &World, username: &str, email: &str, roles: &[&str]) -> Actor {
    let request = CreateUserRequest {
        email: email.to_owned(),
        is_bot: true,
        role_names: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..world.registration(username)
    };
    let user_id = request.user_id.clone();
    world.provisioning().create_user(request).await.expect("created");
    let activate = ActivateUserRequest {
        user_id: user_id.clone(),
        email_verified: false,
    };
    world.provisioning().activate_user(activate).await.expect("activated");
    world.log_in(user_id.parse().expect("an id")).await
}

#[tokio::test]
async fn what_is_not_there_for_every_kind_of_account_is_told_so() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    let allowed = [P::UserTokensCreate, P::CredentialsManage, P::UsersManage];
    world.role(&ruth, "product", &allowed).await;
    let product = bot(&world, "product", "", &["product"]).await;
    let program = bot(&world, "program", "program@example.org", &["product"]).await;
    let ada = world.register("ada", &[]).await;

    for (name, who) in [
        ("tidings.auth.v1.AuthService/Logout", &ada),
        ("tidings.auth.v1.AuthService/LogoutAll", &ada),
        ("tidings.auth.v1.CredentialService/ChangePassword", &ada),
        ("tidings.auth.v1.CredentialService/SetPassword", &ruth),
        ("tidings.auth.v1.LoginSessionService/ListLoginSessions", &ada),
    ] {
        for (caller, reason) in [
            (who, R::Unspecified),
            (&program, R::Unspecified),
            (&product, R::KindUnsuitable),
        ] {
            let explained = explain(&world, caller, method(name)).await;
            assert_eq!(explained.decision.unwrap().reason(), reason, "{name}");
            assert!(rules(&explained).contains(&Rule::KindIncluded), "{name}");
        }
        // Who asks about another is told the same.
        let about = AccessQuery {
            user_id: product.user_id.to_string(),
            ..method(name)
        };
        let decision = check(&world, &ruth, about).await.unwrap();
        assert_eq!(decision.reason(), R::KindUnsuitable, "{name}");
    }

    let bring_in = method("tidings.auth.v1.AuthService/CreateUserToken");
    for (caller, allowed) in [(&product, true), (&program, true), (&ruth, false)] {
        let explained = explain(&world, caller, bring_in.clone()).await;
        let decision = explained.decision.unwrap();
        assert_eq!(decision.allowed, allowed);
        if !allowed {
            assert_eq!(explained.findings.last().unwrap().rule(), Rule::KindIncluded);
            assert_eq!(
                (decision.reason(), decision.missing_permission()),
                (R::PermissionMissing, P::UserTokensCreate)
            );
        }
    }

    // A bot does not delete itself, whatever it holds; what is told is what the call is answered with.
    for (caller, allowed) in [(&product, false), (&program, false), (&ada, true)] {
        let query = AccessQuery {
            target_user_id: caller.user_id.to_string(),
            ..method("tidings.user.v1.UserService/DeleteUser")
        };
        let decision = check(&world, caller, query).await.unwrap();
        assert_eq!(decision.allowed, allowed);
        let delete = DeleteUserRequest {
            user_id: caller.user_id.to_string(),
            ..DeleteUserRequest::default()
        };
        let outcome = world.users().delete_user(caller.asks(delete)).await;
        assert_eq!(outcome.is_ok(), allowed);
        if !allowed {
            assert_eq!(decision.missing_permission(), P::UsersManage);
            assert_eq!(detail(&outcome, "permission"), "USERS_MANAGE");
            assert_eq!(reason(outcome), decision.reason());
        }
    }
}

#[tokio::test]
async fn the_last_admin_is_told_apart() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    let resign = AccessQuery {
        target_user_id: ruth.user_id.to_string(),
        target_role_id: ADMIN.to_owned(),
        ..method("tidings.user.v1.RoleService/UnassignRole")
    };
    let refused = explain(&world, &ruth, resign.clone()).await;
    assert_eq!(refused.findings.last().unwrap().rule(), Rule::AdminRemains);
    assert_eq!(refused.decision.unwrap().reason(), R::LastAdmin);
    for name in ["SuspendUser", "DeleteUser"] {
        let end = AccessQuery {
            target_user_id: ruth.user_id.to_string(),
            ..method(&format!("tidings.user.v1.UserService/{name}"))
        };
        let refused = explain(&world, &ruth, end).await;
        assert_eq!(refused.decision.unwrap().reason(), R::LastAdmin, "{name}");
    }
    let suspend = SuspendUserRequest {
        user_id: ruth.user_id.to_string(),
        ..SuspendUserRequest::default()
    };
    assert_eq!(
        reason(world.users().suspend_user(ruth.asks(suspend)).await),
        R::LastAdmin
    );
    world.register("rosa", &["admin"]).await;
    assert!(explain(&world, &ruth, resign).await.decision.unwrap().allowed);
}

#[tokio::test]
async fn what_one_may_do_to_oneself_takes_no_permission() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    for name in [
        "tidings.user.v1.UserService/UpdateUser",
        "tidings.user.v1.UserService/DeleteUser",
        "tidings.auth.v1.CredentialService/RemoveTotp",
        "tidings.auth.v1.LoginSessionService/ListLoginSessions",
    ] {
        for (target, allowed) in [(&ada, true), (&bob, false)] {
            let query = AccessQuery {
                target_user_id: target.user_id.to_string(),
                ..method(name)
            };
            let decision = check(&world, &ada, query).await.unwrap();
            assert_eq!(decision.allowed, allowed, "{name}");
            assert!(allowed || decision.reason() == R::PermissionMissing, "{name}");
        }
    }
}

#[tokio::test]
async fn what_auth_asks_before_it_acts_on_an_account_is_told_too() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    world
        .ranked_role(&ruth, "desk", &[P::CredentialsManage, P::ServiceAccountsManage], 0)
        .await;
    world.ranked_role(&ruth, "staff", &[P::RolesManage], 0).await;
    let desk = world.register("dora", &["desk", "member"]).await;
    let staff = world.register("stan", &["staff"]).await;
    let ada = world.register("ada", &[]).await;
    let ask = async |name: &str, target: &Actor| {
        let query = AccessQuery {
            target_user_id: target.user_id.to_string(),
            ..method(name)
        };
        let explained = explain(&world, &desk, query).await;
        let last = *rules(&explained).last().expect("a rule");
        (explained.decision.expect("a decision").reason(), last)
    };
    for name in ["SetPassword", "RemoveTotp"] {
        let name = format!("tidings.auth.v1.CredentialService/{name}");
        assert_eq!(ask(&name, &ada).await.0, R::Unspecified, "{name}");
        assert_eq!(
            ask(&name, &staff).await,
            (R::PermissionMissing, Rule::GrantHeld),
            "{name}"
        );
    }
    let own = AccessQuery {
        target_user_id: staff.user_id.to_string(),
        ..method("tidings.auth.v1.CredentialService/RemoveTotp")
    };
    assert!(check(&world, &staff, own).await.unwrap().allowed, "one's own");
    for name in ["DeleteServiceAccount", "CreateApiKey", "RevokeApiKey"] {
        let name = format!("tidings.auth.v1.ServiceAccountService/{name}");
        assert_eq!(ask(&name, &staff).await.0, R::Unspecified, "{name}");
        assert_eq!(
            ask(&name, &ruth).await,
            (R::RankTooLow, Rule::RankReachesUser),
            "{name}"
        );
    }
    let last = AccessQuery {
        target_user_id: ruth.user_id.to_string(),
        ..method("tidings.auth.v1.ServiceAccountService/DeleteServiceAccount")
    };
    let refused = check(&world, &ruth, last).await.unwrap();
    assert_eq!(refused.reason(), R::LastAdmin);
}

#[tokio::test]
async fn a_suspended_account_may_do_nothing_but_what_everybody_may() {
    let world = World::begin().await;
    let (ruth, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    sqlx::query("update users.users set status = 'suspended', permissions = '{}' where user_id = $1")
        .bind(ada.user_id.uuid())
        .execute(&world.pool())
        .await
        .unwrap();
    let about = |query: AccessQuery| AccessQuery {
        user_id: ada.user_id.to_string(),
        ..query
    };
    let refused = explain(&world, &ruth, about(permission(P::GroupsCreate))).await;
    assert_eq!(rules(&refused), [Rule::AccountActive]);
    assert_eq!(refused.findings[0].status(), UserStatus::Suspended);
    assert_eq!(refused.decision.unwrap().reason(), R::LoginSessionRevoked);

    let login = explain(&world, &ruth, about(method("tidings.auth.v1.AuthService/Login"))).await;
    assert!(login.decision.unwrap().allowed);
    assert_eq!(rules(&login), [Rule::MethodOffered]);
}

#[tokio::test]
async fn what_is_between_services_is_there_for_nobody() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    let internal = method("tidings.user.v1.ProvisioningService/CreateUser");
    let refused = explain(&world, &ruth, internal).await;
    assert_eq!(rules(&refused), [Rule::MethodOffered]);
    assert_eq!(refused.decision.unwrap().reason(), R::MethodUnknown);
}

#[tokio::test]
async fn about_oneself_the_token_counts() {
    let world = World::begin().await;
    let ruth = world.register("ruth", &["admin"]).await;
    let key = world.log_in_with(ruth.user_id, &[P::UsersList]).await;
    let refused = explain(&world, &key, permission(P::RolesManage)).await;
    assert_eq!(rules(&refused).last(), Some(&Rule::PermissionInToken));
    assert_eq!(refused.decision.unwrap().missing_permission(), P::RolesManage);
    let whole = AccessQuery {
        user_id: ruth.user_id.to_string(),
        ..permission(P::RolesManage)
    };
    let rosa = world.register("rosa", &["admin"]).await;
    assert!(check(&world, &rosa, whole).await.unwrap().allowed);
}

#[tokio::test]
async fn many_questions_are_answered_in_their_order() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let ask = async |queries: Vec<AccessQuery>| {
        let request = BatchCheckAccessRequest { queries };
        let checked = world.access().batch_check_access(ada.asks(request)).await?;
        Ok::<_, Status>(checked.into_inner().decisions)
    };
    let asked = [P::UsersList, P::RolesManage, P::GroupsCreate];
    let decisions = ask(asked.map(permission).to_vec()).await.unwrap();
    let allowed: Vec<_> = decisions.iter().map(|decision| decision.allowed).collect();
    assert_eq!(allowed, [true, false, true]);

    assert_eq!(ask(vec![permission(P::UsersList); 100]).await.unwrap().len(), 100);
    for number in [0, 101] {
        assert_eq!(
            wrong_fields(ask(vec![permission(P::UsersList); number]).await),
            ["queries"]
        );
    }
    let other = AccessQuery {
        user_id: world.absent(),
        ..permission(P::UsersList)
    };
    assert_eq!(
        reason(ask(vec![permission(P::UsersList), other]).await),
        R::PermissionMissing
    );
    let wrong = AccessQuery {
        user_id: "x".to_owned(),
        ..method("Nothing")
    };
    assert_eq!(
        wrong_fields(ask(vec![permission(P::UsersList), wrong]).await),
        ["queries[1].user_id", "queries[1].method"]
    );
}

#[tokio::test]
async fn wrong_questions_are_refused_where_they_are_wrong() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let unset = CheckAccessRequest { query: None };
    assert_eq!(
        wrong_fields(world.access().check_access(ada.asks(unset)).await),
        ["query"]
    );
    let wrong = AccessQuery {
        user_id: "1".to_owned(),
        action: None,
        target_user_id: "2".to_owned(),
        target_role_id: "3".to_owned(),
    };
    assert_eq!(
        wrong_fields(check(&world, &ada, wrong).await),
        [
            "query.user_id",
            "query.target_user_id",
            "query.target_role_id",
            "query.permission"
        ]
    );
    for number in [0, -1, 999] {
        let query = AccessQuery {
            action: Some(Action::Permission(number)),
            ..AccessQuery::default()
        };
        assert_eq!(wrong_fields(check(&world, &ada, query).await), ["query.permission"]);
    }
    for name in [
        "",
        "/tidings.auth.v1.AuthService/Login",
        "Login",
        "tidings.auth.v1.AuthService/login",
    ] {
        assert_eq!(
            wrong_fields(check(&world, &ada, method(name)).await),
            ["query.method"],
            "{name}"
        );
    }
}

#[tokio::test]
async fn permissions_are_listed_a_page_at_a_time() {
    let world = World::begin().await;
    let reader = {
        let ruth = world.register("ruth", &["admin"]).await;
        world.role(&ruth, "reader", &[P::RolesRead]).await;
        world.register("ada", &["reader"]).await
    };
    let mut numbers = Vec::new();
    let mut request = ListPermissionsRequest {
        page_size: 4,
        ..ListPermissionsRequest::default()
    };
    loop {
        let page = world.roles().list_permissions(reader.asks(request.clone())).await;
        let page = page.unwrap().into_inner();
        assert!(page.permissions.len() <= 4);
        for info in &page.permissions {
            assert!(!info.name.is_empty() && !info.description.is_empty());
            assert_eq!(info.held, info.permission() == P::RolesRead);
            assert_eq!(format!("PERMISSION_{}", info.name), info.permission().as_str_name());
        }
        numbers.extend(page.permissions.iter().map(|info| info.permission));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let every: Vec<_> = (1..).take_while(|number| P::try_from(*number).is_ok()).collect();
    assert_eq!(numbers, every);

    let bob = world.register("bob", &[]).await;
    let refused = world
        .roles()
        .list_permissions(bob.asks(ListPermissionsRequest::default()))
        .await;
    assert_eq!(reason(refused), R::PermissionMissing);
}
