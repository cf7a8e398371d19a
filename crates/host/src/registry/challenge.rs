//! `WWW-Authenticate`: what a registry wants, and the header that answers it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use seachange_core::host::Credentials;

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password, in the request itself.
    Basic,
    /// A token that the realm gives out.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The best of the challenges of an answer: a token before a password in every request.
pub(super) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let all = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let known: Vec<_> = all.filter_map(|value| parse(value.to_str().ok()?)).collect();
    let bearer = known.iter().position(|challenge| *challenge != Challenge::Basic);
    known.into_iter().nth(bearer.unwrap_or(0))
}

/// The `Authorization` of a login.
pub(super) fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let login = format!("{}:{}", credentials.username.expose(), credentials.password.expose());
    sensitive(&format!("Basic {}", STANDARD.encode(login)))
}

/// The `Authorization` from a token service's answer, which has the token under either of two names.
pub(super) fn bearer(body: &[u8]) -> Option<HeaderValue> {
    #[derive(serde::Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    sensitive(&format!("Bearer {}", answer.token.or(answer.access_token)?))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn parse(value: &str) -> Option<Challenge> {
    let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    for (name, value) in parameters(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "scope" => scope = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// `name="value"` pairs; a quoted value may hold commas and escapes. Stops at what it does not understand.
fn parameters(mut text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    loop {
        text = text.trim_start_matches([' ', ',', '\t']);
        let Some((name, rest)) = text.split_once('=') else { return pairs };
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => match unquote(quoted) {
                Some(both) => both,
                None => return pairs,
            },
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        pairs.push((name.trim().to_owned(), value));
        text = rest;
    }
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use seachange_core::secret::Secret;

    fn token(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: owned(service),
            scope: owned(scope),
        })
    }

    #[test]
    fn real_challenges_are_read() {
        let gitlab = r#"Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",scope="repository:a/b:pull",error="invalid_token""#;
        let (realm, service) = ("https://gitlab.com/jwt/auth", Some("container_registry"));
        assert_eq!(parse(gitlab), token(realm, service, Some("repository:a/b:pull")));
        let commas =
            r#"bearer realm="https://r/t", scope="repository:a:pull,push" , service=r.example"#;
        assert_eq!(
            parse(commas),
            token("https://r/t", Some("r.example"), Some("repository:a:pull,push"))
        );
        assert_eq!(
            parse(r#"Bearer realm="https://r/\"t\"""#),
            token(r#"https://r/"t""#, None, None)
        );
        assert_eq!(parse(r#"Basic realm="Registry""#), Some(Challenge::Basic));
        assert_eq!(parse("Basic"), Some(Challenge::Basic));
    }

    #[test]
    fn broken_challenges_are_none() {
        for broken in
            ["", "Bearer", "Bearer realm=\"https://r", "Negotiate abc", "Bearer service=\"x\""]
        {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_token_goes_before_a_password() {
        let mut headers = HeaderMap::new();
        assert_eq!(choose(&headers), None);
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"r\""));
        assert_eq!(choose(&headers), Some(Challenge::Basic));
        headers.append(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"https://r/t\""),
        );
        assert_eq!(choose(&headers), token("https://r/t", None, None));
    }

    #[test]
    fn answers_are_sensitive_headers() {
        let credentials =
            Credentials { username: Secret::new("user"), password: Secret::new("hunter2") };
        let login = basic(&credentials).unwrap();
        assert_eq!(login.to_str().unwrap(), "Basic dXNlcjpodW50ZXIy");
        assert_eq!(format!("{login:?}"), "Sensitive");
        assert_eq!(
            bearer(br#"{"token":"t1","access_token":"t2"}"#).unwrap().to_str().unwrap(),
            "Bearer t1"
        );
        assert_eq!(
            bearer(br#"{"access_token":"t2","expires_in":300}"#).unwrap().to_str().unwrap(),
            "Bearer t2"
        );
        assert_eq!(bearer(br#"{"expires_in":300}"#), None);
    }
}
