use serde_json::Value;

use crate::{
    calls::{Headers, STREAM, reason},
    fakes::BIG,
    world::{SHAPES, World},
};

/// The events of a stream: name and data. Comments are left out.
fn events(body: &[u8]) -> Vec<(String, Value)> {
    let text = std::str::from_utf8(body).expect("UTF-8");
    assert!(text.ends_with("\n\n"), "half an event");
    let blocks = text
        .split("\n\n")
        .filter(|block| !block.is_empty() && !block.starts_with(':'));
    blocks
        .map(|block| {
            let (name, data) = block.split_once('\n').expect("two lines");
            let name = name.strip_prefix("event: ").expect("a name").to_owned();
            let data = data.strip_prefix("data: ").expect("data");
            (name, serde_json::from_str(data).expect("one line of JSON"))
        })
        .collect()
}

fn headers(bearer: &str) -> [(&str, &str); 3] {
    [
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("authorization", bearer),
    ]
}

#[tokio::test]
async fn a_stream_comes_as_events() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let bearer = world.bearer();
        let answer = world
            .post(STREAM, &headers(&bearer), r#"{"after":{"logId":"log"}}"#)
            .await;
        assert_eq!(
            (answer.http.as_u16(), answer.content_type()),
            (200, "text/event-stream")
        );
        assert_eq!(answer.headers["cache-control"], "no-store");
        let events = events(&answer.body);
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["message", "message", "end"]);
        assert_eq!(events[0].1["opened"]["userPosition"], BIG.to_string());
    }
}

#[tokio::test]
async fn an_error_is_the_last_event_or_the_answer() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let bearer = world.bearer();
        let answer = world
            .post(STREAM, &headers(&bearer), r#"{"after":{"logId":"fails"}}"#)
            .await;
        let events = events(&answer.body);
        let (name, error) = events.last().expect("an end");
        assert_eq!(
            (name.as_str(), reason(error).as_str(), events.len()),
            ("error", "SLOW_CONSUMER", 3)
        );
        let early = world
            .post(STREAM, &headers(&bearer), r#"{"after":{"logId":"refused"}}"#)
            .await;
        assert_eq!(
            early.refusal(),
            (400, "invalid_argument".to_owned(), "FIELD_INVALID".to_owned())
        );
        let anonymous: Headers<'_> = &headers(&bearer)[..2];
        assert_eq!(world.post(STREAM, anonymous, "{}").await.refusal().2, "TOKEN_MISSING");
        // A token in the URL is no token.
        let path = format!("{STREAM}?access_token={}", world.token);
        assert_eq!(world.post(&path, anonymous, "{}").await.refusal().2, "TOKEN_MISSING");
    }
}
