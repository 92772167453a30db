//! A change of address that was proven, and is not done when the account gets a new password: whoever proved it may be the one whom
//! the password was changed against.

use tidings_auth_service::{Config, CrashPoints, Step};
use tidings_proto_auth::v1::RequestEmailVerificationRequest;
use tokio_util::sync::CancellationToken;

use super::{NEW, ada};
use crate::{
    user::FakeUser,
    world::{PASSWORD, World, refusal},
};

const NEW_PASSWORD: &str = "another horse battery";
const OLD: &str = "ada@example.org";

/// How a password becomes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Reset,
    Change,
    Set,
}

const WAYS: [Way; 3] = [Way::Reset, Way::Change, Way::Set];

/// Ada, of whose change of address no more is done than the steps before this one.
struct Stopped {
    world: World,
    user_id: String,
    session: String,
    /// What a mail to her present address brought, before the change was proven.
    reset: String,
    operator: String,
    token: String,
    request_id: String,
}

impl Stopped {
    /// With her present address proven, or not.
    async fn set_up(world: World, verified: bool) -> Self {
        let (user_id, session) = ada(&world).await;
        let mut sent = 0;
        if verified {
            let email = OLD.to_owned();
            let request = RequestEmailVerificationRequest {
                email,
                request_id: String::new(),
            };
            let asked = world.credentials().request_email_verification(request).await;
            asked.expect("asked");
            sent += 1;
            world.prove(&world.token_to(OLD, sent).await, "").await.expect("proven");
        }
        world.ask_reset(OLD, "").await.expect("asked");
        let reset = world.token_to(OLD, sent + 1).await;
        world.change_email(&session, NEW, "").await.expect("asked");
        let token = world.token_to(NEW, sent + 3).await;
        let (operator, _) = world.operator().await;
        Self {
            user_id,
            session,
            reset,
            operator,
            token,
            request_id: world.request_id(),
            world,
        }
    }

    async fn prove(&self) -> Result<(), tonic::Status> {
        self.world.prove(&self.token, &self.request_id).await
    }

    async fn new_password(&self, way: Way) {
        let Self { world, user_id, .. } = self;
        let outcome = match way {
            Way::Reset => world.reset(&self.reset, NEW_PASSWORD, "").await,
            Way::Change => world.change_password(&self.session, PASSWORD, NEW_PASSWORD, "").await,
            Way::Set => world.set_password(&self.operator, user_id, NEW_PASSWORD, "").await,
        };
        outcome.unwrap_or_else(|status| panic!("{way:?}: {status}"));
    }

    async fn state(&self) -> String {
        let state = sqlx::query_scalar("select state from auth.email_changes where user_id = $1::uuid");
        let state = state.bind(&self.user_id).fetch_one(&self.world.pool).await;
        state.expect("a change")
    }

    /// The address is what it was, in both services, and the one that was proven is nobody's.
    async fn is_as_before(&self, way: Way) {
        let Self { world, user_id, .. } = self;
        assert_eq!(world.email_at_users(user_id).0, OLD, "{way:?}");
        assert_eq!(world.email_here("ada").await.as_deref(), Some(OLD), "{way:?}");
        world.login_with(OLD, NEW_PASSWORD).await.expect("by the old one");
        assert_eq!(
            refusal(world.login_with(NEW, NEW_PASSWORD).await),
            "CREDENTIALS_INVALID"
        );
        assert_eq!(refusal(self.prove().await), "CREDENTIALS_INVALID", "repeated, {way:?}");
        world.service.upkeep_once().await.expect("nothing is left to do");
        assert_eq!(self.state().await, "refused", "{way:?}");

        let eve = world.register("eve").await.expect("registered");
        let session = world.login("eve").await.expect("logged in").access_token;
        world.outbox_is_empty().await;
        let sent = world.mails(0).await.len();
        world.change_email(&session, NEW, "").await.expect("asked");
        let token = world.token_to(NEW, sent + 2).await;
        world.prove(&token, "").await.expect("it is free");
        assert_eq!(world.email_at_users(&eve).0, NEW, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_gives_up_what_the_user_service_was_not_told() {
    for way in WAYS {
        let (world, crash) = World::crashing_at(Step::EmailProven).await;
        let stopped = Stopped::set_up(world, false).await;
        assert_eq!(refusal(stopped.prove().await), "DEPENDENCY_UNAVAILABLE");
        assert_eq!(stopped.state().await, "proven");
        stopped.new_password(way).await;
        assert_eq!(stopped.state().await, "refused", "{way:?}");
        *crash.lock() = false;
        stopped
            .world
            .service
            .upkeep_once()
            .await
            .expect("nothing is left to do");
        let user = stopped.world.users.get(&stopped.user_id).expect("there");
        assert_eq!(user.email_revision, 0, "never told, {way:?}");
        stopped.is_as_before(way).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_service_was_told_it_is_told_back() {
    for way in WAYS {
        let (world, crash) = World::crashing_at(Step::UserEmailChanged).await;
        let stopped = Stopped::set_up(world, true).await;
        let world = &stopped.world;
        assert_eq!(refusal(stopped.prove().await), "DEPENDENCY_UNAVAILABLE");
        assert_eq!(world.email_at_users(&stopped.user_id).0, NEW);
        stopped.new_password(way).await;
        *crash.lock() = false;
        world.service.upkeep_once().await.expect("told back");
        assert_eq!(
            world.email_at_users(&stopped.user_id),
            (OLD.to_owned(), true),
            "{way:?}"
        );
        stopped.is_as_before(way).await;

        // And another wish goes its way.
        let session = world
            .login_with("ada", NEW_PASSWORD)
            .await
            .expect("logged in")
            .access_token;
        world.outbox_is_empty().await;
        let sent = world.mails(0).await.len();
        world
            .change_email_with(&session, "third@example.org", NEW_PASSWORD, "")
            .await
            .expect("asked");
        let token = world.token_to("third@example.org", sent + 2).await;
        world.prove(&token, "").await.expect("proven");
        assert_eq!(world.email_at_users(&stopped.user_id).0, "third@example.org");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_resets_by_an_address_that_was_never_proven_keeps_it() {
    let (world, crash) = World::crashing_at(Step::UserEmailChanged).await;
    let stopped = Stopped::set_up(world, false).await;
    assert_eq!(refusal(stopped.prove().await), "DEPENDENCY_UNAVAILABLE");
    // The mail has reached it.
    stopped.new_password(Way::Reset).await;
    *crash.lock() = false;
    stopped.world.service.upkeep_once().await.expect("told back");
    stopped.is_as_before(Way::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_address_was_proven_before_a_change_that_was_told_comes_to_its_end() {
    for way in [Way::Change, Way::Set] {
        let (world, crash) = World::crashing_at(Step::UserEmailChanged).await;
        let stopped = Stopped::set_up(world, false).await;
        let world = &stopped.world;
        assert_eq!(refusal(stopped.prove().await), "DEPENDENCY_UNAVAILABLE");
        stopped.new_password(way).await;
        *crash.lock() = false;
        stopped.prove().await.expect("repeated");
        assert_eq!(
            world.email_at_users(&stopped.user_id),
            (NEW.to_owned(), true),
            "{way:?}"
        );
        assert_eq!(world.email_here("ada").await.as_deref(), Some(NEW));
        world.login_with(NEW, NEW_PASSWORD).await.expect("by the new one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_service_that_is_away_is_told_back_when_it_returns() {
    let world = World::open().await;
    let stopped = Stopped::set_up(world, true).await;
    let world = &stopped.world;
    world.users.go_away(true);
    assert_eq!(refusal(stopped.prove().await), "DEPENDENCY_UNAVAILABLE");
    stopped.new_password(Way::Reset).await;
    assert_eq!(stopped.state().await, "recalled", "it may have been told");
    // What it heard before it went away.
    world.users.change(&stopped.user_id, |user| {
        (user.email, user.email_revision) = (NEW.to_owned(), 1);
    });
    let still_away = world.service.upkeep_once().await;
    still_away.expect_err("it cannot be told yet");
    assert_eq!(refusal(stopped.prove().await), "DEPENDENCY_UNAVAILABLE");
    assert_eq!(stopped.state().await, "recalled");
    world.users.go_away(false);
    world.service.upkeep_once().await.expect("told back");
    stopped.is_as_before(Way::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_somebody_asks_for_meanwhile_comes_back_all_the_same() {
    let (world, crash) = World::crashing_at(Step::UserEmailChanged).await;
    let stopped = Stopped::set_up(world, true).await;
    let world = &stopped.world;
    assert_eq!(refusal(stopped.prove().await), "DEPENDENCY_UNAVAILABLE");
    // A registration that has come as far as the user service, where the address is free just now.
    let mallory = world.source.new_id::<tidings_ids::kind::User>().to_string();
    world.users.insert(&mallory, FakeUser::new("mallory", OLD));
    stopped.new_password(Way::Reset).await;
    *crash.lock() = false;
    world.service.upkeep_once().await.expect_err("it is taken there");
    assert_eq!(stopped.state().await, "recalled");
    // It cannot be stored here, so it is given up.
    world.users.change(&mallory, |user| user.email = String::new());
    world.service.upkeep_once().await.expect("told back");
    stopped.is_as_before(Way::Reset).await;
}

/// A world in which whoever comes to the step is held there, be it the upkeep: what is cancelled when somebody is, and what lets
/// them go on when it is.
async fn holding_at(step: Step) -> (World, CancellationToken, CancellationToken) {
    let (held, go_on) = (CancellationToken::new(), CancellationToken::new());
    let (tell, wait) = (held.clone(), go_on.clone());
    let points = CrashPoints::new(move |reached| {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            if reached == step {
                tell.cancel();
                wait.cancelled().await;
            }
            false
        }
    });
    let world = World::with(|config| Config {
        crash_points: Some(points),
        ..config
    })
    .await;
    (world, held, go_on)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_sleeps_and_wakes_after_a_reset_brings_nothing_back() {
    for step in [Step::EmailProven, Step::UserEmailChanged] {
        let (world, held, go_on) = holding_at(step).await;
        let stopped = Stopped::set_up(world, true).await;
        let proof = async {
            let outcome = stopped.prove().await;
            assert_eq!(refusal(outcome), "CREDENTIALS_INVALID", "{step:?}");
        };
        let reset = async {
            held.cancelled().await;
            stopped.new_password(Way::Reset).await;
            stopped.world.service.upkeep_once().await.expect("settled");
            assert_eq!(stopped.state().await, "refused");
            go_on.cancel();
        };
        tokio::join!(proof, reset);
        stopped.is_as_before(Way::Reset).await;
    }
}
