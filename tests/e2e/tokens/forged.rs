use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::{Actor, Forge};

use super::claim::{Claim, encode, hmac, invalid, sign, sign_texts, unsigned, with, without};

/// Tokens of the right kind that auth has not signed, or would not have (B061 to B065).
pub fn forged(forge: &Forge, ada: &Actor) -> Vec<Claim> {
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": forge.key_id() });
    let body = serde_json::to_value(forge.claims(ada)).expect("claims are JSON");
    let signed = |header: &Value, body: &Value| sign(forge, header, body);
    let now = body["iat"].as_i64().expect("a time");
    let mut tokens: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, token: String| tokens.push((what.to_owned(), token));

    for alg in [
        "none", "None", "nOnE", "", "HS256", "HS512", "RS256", "PS256", "ES256", "EdDSA2", "eddsa",
    ] {
        let header = with(&header, "alg", json!(alg));
        add(&format!("alg {alg:?}"), signed(&header, &body));
        add(&format!("alg {alg:?} without a signature"), unsigned(&header, &body));
    }
    let hs256 = with(&header, "alg", json!("HS256"));
    let text = format!("{}.{}", encode(&hs256), encode(&body));
    add("the public key as the secret of HS256", hmac(&text, forge.public_key()));
    add("an empty secret of HS256", hmac(&text, b""));
    add(
        "another key under the same name",
        sign(&forge.impostor(), &header, &body),
    );
    add("no signature", unsigned(&header, &body));
    add(
        "a signature of zeros",
        format!("{}{}", unsigned(&header, &body), URL_SAFE_NO_PAD.encode([0; 64])),
    );
    let other = signed(&header, &with(&body, "epoch", json!(1)));
    let (_, signature) = other.rsplit_once('.').expect("three parts");
    add(
        "the signature of another token",
        format!("{}{signature}", unsigned(&header, &body)),
    );

    for (name, value) in [
        ("kid", json!("unknown")),
        ("kid", json!("")),
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("' or 1=1 --")),
        ("kid", json!("https://example.org/key")),
        ("kid", json!("k".repeat(2_000))),
        ("kid", json!(7)),
        ("kid", Value::Null),
        ("typ", json!("JWT")),
        ("typ", json!("jwt")),
        ("typ", json!("rt+jwt")),
        ("typ", json!("tidings-service+jwt")),
        ("typ", json!("application/at+jwt")),
        ("typ", json!("AT+JWT")),
        ("typ", Value::Null),
        ("crit", json!(["exp"])),
        ("jku", json!("http://127.0.0.1:9/keys")),
        ("x5u", json!("http://127.0.0.1:9/keys")),
        (
            "jwk",
            json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(forge.public_key()) }),
        ),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        let what = format!(
            "header {name} {}",
            value.to_string().chars().take(40).collect::<String>()
        );
        add(&what, signed(&with(&header, name, value), &body));
    }
    for name in ["alg", "typ", "kid"] {
        add(&format!("no header {name}"), signed(&without(&header, name), &body));
    }

    for (name, value) in [
        ("exp", json!((now + 600).to_string())),
        ("exp", json!(now as f64 + 600.5)),
        ("exp", json!(-1)),
        ("exp", json!(0)),
        ("exp", json!(1_000_000_000_000_000_000_i64)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(1e300)),
        ("exp", json!([now + 600])),
        ("exp", Value::Null),
        ("exp", json!(now + 601)),
        ("nbf", json!(now + 300)),
        ("nbf", json!((now + 300).to_string())),
        ("nbf", Value::Null),
        ("iat", json!(now + 300)),
        ("iat", json!(i64::MIN)),
        ("iat", json!("now")),
        ("iss", json!("another")),
        ("iss", json!("")),
        ("iss", json!(["tidings"])),
        ("iss", json!("Tidings")),
        ("aud", json!("another")),
        ("aud", json!(["tidings"])),
        ("aud", json!(["tidings", "another"])),
        ("aud", Value::Null),
        ("sub", json!("")),
        ("sub", json!("admin")),
        ("sub", json!(ada.user_id.to_uppercase())),
        ("sub", json!([ada.user_id])),
        ("sub", Value::Null),
        ("sid", json!("")),
        ("sid", json!(7)),
        ("epoch", json!("1")),
        ("epoch", json!(1.5)),
        ("epoch", json!(-1)),
        ("epoch", json!(i64::MIN)),
        ("epoch", json!(u64::MAX)),
        ("perms", json!("all")),
        ("perms", json!(["PERMISSION_USERS_MANAGE"])),
        ("perms", Value::Null),
        ("bot", json!("no")),
        ("bot", json!(0)),
    ] {
        add(
            &format!("claim {name} {value}"),
            signed(&header, &with(&body, name, value)),
        );
    }
    for name in ["iss", "aud", "sub", "sid", "epoch", "perms", "bot", "iat", "nbf", "exp"] {
        add(&format!("no claim {name}"), signed(&header, &without(&body, name)));
    }
    let twice = body
        .to_string()
        .replacen('{', r#"{"sub":"00000000-0000-7000-8000-000000000000","#, 1);
    add("a claim twice", sign_texts(forge, &header.to_string(), &twice));
    let twice = header.to_string().replacen('{', r#"{"alg":"none","#, 1);
    add("a header twice", sign_texts(forge, &twice, &body.to_string()));
    add(
        "claims that are no object",
        sign_texts(forge, &header.to_string(), "[]"),
    );
    add(
        "claims that are no JSON",
        sign_texts(forge, &header.to_string(), "claims"),
    );
    tokens
        .into_iter()
        .map(|(what, token)| invalid(&what, token, ErrorReason::TokenInvalid))
        .collect()
}

/// Headers that carry no token, or a valid one in a wrong way (B018, B019).
pub fn malformed(valid: &str) -> Vec<Claim> {
    let one = |what: &str, value: String, reason| Claim {
        what: what.to_owned(),
        headers: vec![("authorization", value)],
        reason,
    };
    let (missing, invalid) = (ErrorReason::TokenMissing, ErrorReason::TokenInvalid);
    let two = |what: &str, first: String, second: String| Claim {
        what: what.to_owned(),
        headers: vec![("authorization", first), ("authorization", second)],
        reason: invalid,
    };
    let good = format!("Bearer {valid}");
    let mut parts = valid.split('.');
    let (header, body) = (parts.next().expect("a header"), parts.next().expect("claims"));
    let mut claims = vec![
        Claim {
            what: "no header".to_owned(),
            headers: Vec::new(),
            reason: missing,
        },
        Claim {
            what: "a token in another header".to_owned(),
            headers: vec![("x-authorization", good.clone()), ("cookie", format!("token={valid}"))],
            reason: missing,
        },
        Claim {
            what: "headers that only services send".to_owned(),
            headers: vec![
                ("x-user-id", "admin".to_owned()),
                ("x-tidings-client", "127.0.0.1".to_owned()),
            ],
            reason: missing,
        },
        two(
            "two headers, the valid one first",
            good.clone(),
            "Bearer nonsense".to_owned(),
        ),
        two(
            "two headers, the valid one last",
            "Bearer nonsense".to_owned(),
            good.clone(),
        ),
        two("the valid header twice", good.clone(), good.clone()),
    ];
    for (what, value) in [
        ("an empty header", String::new()),
        ("a scheme alone", "Bearer".to_owned()),
        ("a scheme and a space", "Bearer ".to_owned()),
        ("a token without a scheme", valid.to_owned()),
        ("another scheme", format!("Basic {valid}")),
        ("a scheme of ours", format!("Token {valid}")),
        ("two spaces", format!("Bearer  {valid}")),
        ("a tab", format!("Bearer\t{valid}")),
        ("a space at the end", format!("Bearer {valid} ")),
        ("a list", format!("Bearer {valid}, Bearer {valid}")),
        ("a quoted token", format!("Bearer \"{valid}\"")),
        ("a token of 12 KB", format!("Bearer {}", "a".repeat(12_000))),
        ("a token that goes on", format!("Bearer {valid}A")),
        ("a token with a fourth part", format!("Bearer {valid}.AAAA")),
        ("a token of five parts", format!("Bearer {header}.AAAA.AAAA.AAAA.AAAA")),
        ("a token of two parts", format!("Bearer {header}.{body}")),
        ("a token with padding", format!("Bearer {valid}=")),
        ("a token that is cut", format!("Bearer {}", &valid[..valid.len() - 1])),
        ("dots", "Bearer ..".to_owned()),
        ("nonsense", "Bearer nonsense".to_owned()),
        ("null", "Bearer null".to_owned()),
    ] {
        claims.push(one(what, value, invalid));
    }
    claims
}
