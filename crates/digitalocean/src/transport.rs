//! Sends requests: one pooled client, bounded concurrency, the rate budget, retries by the table, request ids.
//!
//! It knows how a try can end and what follows from it; it does not know any request.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use rand::Rng as _;
use reqwest::Url;
use seachange_core::cloud::{CloudError, RequestAllowance};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::{Config, ConfigError, Retries};
use crate::rate::{Budget, Headers};
use crate::refusal::{Refusal, with_request_id};
use crate::request::Request;
use crate::retry::{self, Class, Outcome, Verdict};

pub(crate) mod http_client;

/// No wait is longer, whoever asks for it; it also keeps sums of times from overflowing.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// The way to the API.
pub(crate) struct Transport {
    http: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
    retries: Retries,
    budget: Mutex<Budget>,
    permits: Semaphore,
    sent: AtomicU64,
}

/// How a try ended, with what there is to show.
enum Ended {
    NotSent { why: String },
    Lost { why: String },
    Answered(Answer),
}

struct Answer {
    status: u16,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    bytes: Bytes,
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let base = http_client::base(&config.base_url)?;
        let token = config.token.expose();
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ConfigError::Token)?;
        if token.trim().is_empty() {
            return Err(ConfigError::Token);
        }
        authorization.set_sensitive(true);
        Ok(Self {
            http: http_client::new(&base, config.timeout)?,
            base,
            authorization,
            retries: config.retries,
            budget: Mutex::new(Budget::new()),
            permits: Semaphore::new(config.concurrency.max(1)),
            sent: AtomicU64::new(0),
        })
    }

    /// Sends, again where that is harmless, and reads the answer.
    pub(crate) async fn send<A: DeserializeOwned>(
        &self,
        request: &Request<A>,
    ) -> Result<A, CloudError> {
        let body = match &request.body {
            Some(body) => Some(Bytes::from(serde_json::to_vec(body).map_err(|error| {
                CloudError::Invalid { request: request.to_string(), detail: error.to_string() }
            })?)),
            None => None,
        };
        let patience = match request.class {
            Class::Read => self.retries.patience,
            _ => self.retries.patience.min(self.retries.changing),
        };
        let deadline = Instant::now() + patience.min(A_DAY);
        let mut attempt = 0;
        // Whether an earlier try may have been processed: then "nothing was done" can no longer be said.
        let mut doubt = false;
        loop {
            let ended = match self.try_once(request, body.clone(), deadline).await {
                Ok(ended) => ended,
                Err(error) if doubt => return Err(unknown(request, error.to_string())),
                Err(error) => return Err(error),
            };
            attempt += 1;
            let (outcome, refusal) = outcome(&ended);
            match retry::judge(request.class, outcome) {
                Verdict::Final => return conclude(request, ended, refusal),
                Verdict::Unknown => return Err(unknown(request, seen(&ended, refusal))),
                Verdict::Again => {}
            }
            doubt |= request.class != Class::Read && retry::may_be_done(outcome);
            let retry_after = match &ended {
                Ended::Answered(answer) => answer.retry_after,
                Ended::NotSent { .. } | Ended::Lost { .. } => None,
            };
            let pause = retry::pause(&self.retries, attempt, retry_after, rand::rng().random());
            let until = Instant::now() + pause;
            if matches!(outcome, Outcome::Answered { status: 429, .. }) {
                self.budget().close(until);
            }
            if attempt >= self.retries.attempts || until > deadline {
                return Err(match refusal {
                    _ if doubt => unknown(request, seen(&ended, refusal)),
                    Some(refusal) if refusal.stands() => {
                        refusal.into_error(request.to_string(), &request.object)
                    }
                    refusal => self.unavailable(request, attempt, &seen(&ended, refusal)),
                });
            }
            tracing::debug!(%request, attempt, ?pause, "will be sent again");
            tokio::time::sleep_until(until).await;
        }
    }

    pub(crate) fn requests_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn allowance(&self) -> Option<RequestAllowance> {
        self.budget().allowance()
    }

    /// One try. An error here means that the budget leaves no room within the caller's patience: nothing was sent.
    async fn try_once<A>(
        &self,
        request: &Request<A>,
        body: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Ended, CloudError> {
        // The semaphore is never closed; were it, sending without a permit is the smaller evil.
        let _permit = self.permits.acquire().await.ok();
        loop {
            let now = Instant::now();
            let Err(until) = self.budget().take(now) else { break };
            if until > deadline {
                return Err(CloudError::RateLimited { detail: self.budget().describe(until, now) });
            }
            tokio::time::sleep_until(until).await;
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        let ended = self.exchange(request, body).await;
        match &ended {
            Ended::NotSent { why } => tracing::debug!(%request, why, "not sent"),
            Ended::Lost { why } => tracing::debug!(%request, why, "no whole answer"),
            Ended::Answered(answer) => tracing::debug!(
                %request,
                status = answer.status,
                request_id = answer.request_id.as_deref(),
                bytes = answer.bytes.len(),
                "answered"
            ),
        }
        Ok(ended)
    }

    async fn exchange<A>(&self, request: &Request<A>, body: Option<Bytes>) -> Ended {
        let url = match self.base.join(&request.target()) {
            Ok(url) => url,
            Err(error) => return Ended::NotSent { why: error.to_string() },
        };
        let mut builder = self
            .http
            .request(request.method.clone(), url)
            .header(AUTHORIZATION, self.authorization.clone());
        if let Some(body) = body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = match builder.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() || error.is_builder() => {
                return Ended::NotSent { why: causes(error) };
            }
            Err(error) => return Ended::Lost { why: causes(error) },
        };
        let status = response.status().as_u16();
        let headers = response.headers();
        self.budget().learn(rate_headers(headers), Instant::now());
        let request_id = text(headers, "x-request-id").map(str::to_owned);
        let retry_after = text(headers, "retry-after")
            .and_then(|seconds| seconds.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(A_DAY));
        match response.bytes().await {
            Ok(bytes) => Ended::Answered(Answer { status, request_id, retry_after, bytes }),
            Err(error) => Ended::Lost {
                why: with_request_id(
                    format!("the answer {status} broke off: {}", causes(error)),
                    request_id.as_deref(),
                ),
            },
        }
    }

    fn unavailable<A>(&self, request: &Request<A>, attempts: u32, seen: &str) -> CloudError {
        let tries = if attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
        CloudError::Unavailable {
            endpoint: self.base.as_str().trim_end_matches('/').to_owned(),
            detail: format!("{request} was tried {tries}, at last: {seen}"),
        }
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        // No code panics while it holds the lock; and a count is still a count if it did.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows where, never with what token.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// What the table needs to know of a try, and the service's words if it refused.
fn outcome(ended: &Ended) -> (Outcome, Option<Refusal>) {
    let answer = match ended {
        Ended::NotSent { .. } => return (Outcome::NotSent, None),
        Ended::Lost { .. } => return (Outcome::Lost, None),
        Ended::Answered(answer) => answer,
    };
    let refusal = (!(200..300).contains(&answer.status))
        .then(|| Refusal::read(answer.status, answer.request_id.as_deref(), &answer.bytes));
    let advises_retry = refusal.as_ref().is_some_and(Refusal::advises_retry);
    (Outcome::Answered { status: answer.status, advises_retry }, refusal)
}

/// The result of an answer that stands.
fn conclude<A: DeserializeOwned>(
    request: &Request<A>,
    ended: Ended,
    refusal: Option<Refusal>,
) -> Result<A, CloudError> {
    if let Some(refusal) = refusal {
        return Err(refusal.into_error(request.to_string(), &request.object));
    }
    let Ended::Answered(answer) = ended else {
        return Err(unknown(request, seen(&ended, None)));
    };
    let bytes = if answer.bytes.is_empty() { b"null" } else { answer.bytes.as_ref() };
    serde_json::from_slice(bytes).map_err(|error| {
        let why = format!("the answer {} is not as promised: {error}", answer.status);
        let detail = with_request_id(why, answer.request_id.as_deref());
        // It was done, but what was made cannot be told: look.
        if request.class == Class::Once {
            unknown(request, detail)
        } else {
            CloudError::Malformed { request: request.to_string(), detail }
        }
    })
}

fn unknown<A>(request: &Request<A>, detail: String) -> CloudError {
    CloudError::Unknown { request: request.to_string(), detail }
}

/// What was seen, in words.
fn seen(ended: &Ended, refusal: Option<Refusal>) -> String {
    match (ended, refusal) {
        (Ended::NotSent { why } | Ended::Lost { why }, _) => why.clone(),
        (Ended::Answered(_), Some(refusal)) => refusal.summary(),
        (Ended::Answered(answer), None) => answer.status.to_string(),
    }
}

/// The whole chain of causes on one line. The URL is left out: the request is named elsewhere.
fn causes(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let mut text = if timed_out { "timed out".to_owned() } else { error.to_string() };
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The rate limit in an answer. Its reset is read against the service's own clock, so that ours may be wrong.
fn rate_headers(headers: &HeaderMap) -> Headers {
    let number = |name| text(headers, name).and_then(|value| value.parse::<u64>().ok());
    let now = text(headers, "date")
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .and_then(|date| u64::try_from(date.timestamp().as_second()).ok());
    let until_reset = number("ratelimit-reset")
        .zip(now)
        .map(|(reset, now)| Duration::from_secs(reset.saturating_sub(now)));
    Headers {
        limit: number("ratelimit-limit"),
        remaining: number("ratelimit-remaining"),
        until_reset,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::rate_headers;
    use crate::rate::Headers;

    fn read(pairs: &[(&'static str, &'static str)]) -> Headers {
        let pairs = pairs.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        rate_headers(&pairs.collect::<HeaderMap>())
    }

    #[test]
    fn a_reset_is_read_against_the_services_own_clock() {
        let date = ("date", "Thu, 15 Oct 2015 18:10:00 GMT");
        let reset = |reset| read(&[date, ("ratelimit-reset", reset)]).until_reset;
        assert_eq!(reset("1444932633"), Some(Duration::from_secs(33)));
        assert_eq!(reset("1444932000"), Some(Duration::ZERO));
        assert_eq!(reset("soon"), None);
        assert_eq!(read(&[("ratelimit-reset", "1444932633")]).until_reset, None);
        assert_eq!(
            read(&[("ratelimit-limit", "5000"), ("ratelimit-remaining", "4816")]),
            Headers { limit: Some(5000), remaining: Some(4816), until_reset: None }
        );
    }
}
