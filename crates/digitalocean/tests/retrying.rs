//! What is sent again and what is not, seen from both ends of a socket.

use std::time::Duration;

use seachange_core::cloud::{Cloud as _, CloudError, DropletCreate, DropletId, RequestAllowance};
use tokio::time::Instant;

use crate::server::{Reply, TOKEN, answer, answer_with, client, serve, serve_in_turn};

const DROPLET: &str = r#"{"droplet":{"id":7,"name":"a","status":"new","locked":true,"size_slug":"s",
    "networks":{"v4":[],"v6":[]},"tags":["x"],"created_at":"2020-07-21T18:37:44Z"},
    "links":{"actions":[{"id":1,"rel":"create"}]}}"#;
const RATE: &str = r#"{"id":"too_many_requests","message":"API Rate limit exceeded."}"#;
const HTML: &str = "<html><head><title>502 Bad Gateway</title></head></html>";

fn create() -> DropletCreate {
    DropletCreate {
        names: vec!["a".to_owned()],
        region: "fra1".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: "ubuntu-24-04-x64".to_owned(),
        ssh_keys: vec!["3b:16".to_owned()],
        tags: vec!["seachange:demo".to_owned()],
        user_data: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_is_sent_once_and_in_doubt() {
    let ways = [
        Reply::HangUp,
        Reply::BreakOff,
        Reply::Silence,
        answer(500, ""),
        answer(502, HTML),
        answer(504, HTML),
        answer(202, "{"),
        answer(202, "{}"),
    ];
    for way in ways {
        let server = serve_in_turn(vec![way.clone()]).await;
        let error = server.client().create_droplets(&create()).await.unwrap_err();
        assert!(matches!(error, CloudError::Unknown { .. }), "{way:?}: {error:?}");
        assert_eq!(server.lines(), ["POST /v2/droplets"], "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_was_certainly_not_processed_is_sent_again() {
    let advice = r#"{"id":"unprocessable_entity","message":"Unable to do it, please try again."}"#;
    for refusal in [answer(429, RATE), answer(422, advice)] {
        let server = serve_in_turn(vec![refusal, answer(202, DROPLET)]).await;
        let client = server.client();
        let made = client.create_droplets(&create()).await.unwrap();
        assert_eq!(made[0].id, DropletId(7));
        assert_eq!(made[0].public_ipv4, None);
        let seen = server.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], seen[1]);
        assert_eq!(client.requests_sent(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_listens_every_try_counts_and_nothing_was_done() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = client(address);
    let error = client.create_droplets(&create()).await.unwrap_err();
    let CloudError::Unavailable { endpoint, detail } = error else { panic!("{error:?}") };
    assert_eq!(endpoint, format!("http://{address}"));
    assert!(detail.starts_with("POST /v2/droplets was tried 4 times"), "{detail}");
    assert_eq!(client.requests_sent(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_read_survives_every_way_to_lose_an_answer() {
    let replies = vec![Reply::HangUp, Reply::BreakOff, answer(502, HTML), answer(200, DROPLET)];
    let server = serve_in_turn(replies).await;
    assert_eq!(server.client().droplet(DropletId(7)).await.unwrap().name, "a");
    assert_eq!(server.seen().len(), 4);

    let server = serve_in_turn(vec![Reply::Silence, answer(200, DROPLET)]).await;
    assert_eq!(server.client().droplet(DropletId(7)).await.unwrap().name, "a");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_keeps_failing_ends_with_what_was_seen_last() {
    let server = serve(|_, _| answer_with(503, "x-request-id", "id-9", HTML)).await;
    let error = server.client().droplet(DropletId(7)).await.unwrap_err();
    let CloudError::Unavailable { detail, .. } = error else { panic!("{error:?}") };
    assert_eq!(
        detail,
        "GET /v2/droplets/7 was tried 4 times, at last: \
         503: an HTML page, “502 Bad Gateway” [request id-9]"
    );
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_repeated_and_absence_is_its_success() {
    let gone = r#"{"id":"not_found","message":"gone"}"#;
    let server = serve_in_turn(vec![Reply::HangUp, answer(404, gone)]).await;
    assert_eq!(server.client().delete_droplet(DropletId(7)).await, Ok(()));
    assert_eq!(server.lines(), ["DELETE /v2/droplets/7"; 2]);

    let server = serve_in_turn(vec![answer(204, "")]).await;
    assert_eq!(server.client().delete_droplet(DropletId(7)).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn doubt_is_not_forgotten_over_a_later_refusal_to_connect_or_answer() {
    for later in [answer(429, RATE), answer(503, "")] {
        let server =
            serve(move |number, _| if number == 0 { Reply::HangUp } else { later.clone() }).await;
        let error = server.client().delete_droplet(DropletId(7)).await.unwrap_err();
        assert!(matches!(error, CloudError::Unknown { .. }), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_by_everybody() {
    let server = serve(|number, _| match number {
        0 => answer_with(429, "retry-after", "42", RATE),
        _ => answer(200, DROPLET),
    })
    .await;
    let client = server.client();
    let start = Instant::now();
    client.droplet(DropletId(7)).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(42));
    assert!(start.elapsed() < Duration::from_secs(50));

    // The limit is the token's: another request must not run into it meanwhile.
    let server = serve(|number, _| match number {
        0 => answer_with(429, "retry-after", "42", RATE),
        _ => answer(200, DROPLET),
    })
    .await;
    let client = server.client();
    let start = Instant::now();
    let (first, ()) = tokio::join!(client.droplet(DropletId(7)), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        client.droplet(DropletId(8)).await.unwrap();
        assert!(start.elapsed() >= Duration::from_secs(42));
    });
    first.unwrap();
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_limit_beyond_our_patience_is_told_at_once() {
    for told in ["3000", "18446744073709551615"] {
        let server = serve(move |_, _| answer_with(429, "retry-after", told, RATE)).await;
        let client = server.client();
        for _ in 0..2 {
            let error = client.droplet(DropletId(7)).await.unwrap_err();
            assert!(matches!(error, CloudError::RateLimited { .. }), "{error:?}");
        }
        assert_eq!(server.seen().len(), 1, "the second must not even be sent");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_without_a_time_is_asked_again_a_few_times() {
    let server = serve(|_, _| answer(429, RATE)).await;
    let error = server.client().create_droplets(&create()).await.unwrap_err();
    let CloudError::RateLimited { detail } = error else { panic!("{error:?}") };
    assert_eq!(detail, "API Rate limit exceeded. (too_many_requests)");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_251st_request_of_a_minute_waits_without_asking() {
    let server = serve(|_, _| answer(200, DROPLET)).await;
    let client = server.client();
    let start = Instant::now();
    for _ in 0..250 {
        client.droplet(DropletId(7)).await.unwrap();
    }
    let sent_in = start.elapsed();
    client.droplet(DropletId(7)).await.unwrap();
    assert!(sent_in < Duration::from_secs(60) && start.elapsed() >= Duration::from_secs(60));
    assert_eq!(client.requests_sent(), 251);
}

#[tokio::test(start_paused = true)]
async fn the_allowance_is_the_newest_answers() {
    let server = serve(|number, _| Reply::Answer {
        status: 200,
        headers: vec![
            ("ratelimit-limit", "5000".to_owned()),
            ("ratelimit-remaining", (4999 - number).to_string()),
            ("ratelimit-reset", "1444931833".to_owned()),
        ],
        body: DROPLET.to_owned(),
    })
    .await;
    let client = server.client();
    assert_eq!(client.allowance(), None);
    for remaining in [4999, 4998] {
        client.droplet(DropletId(7)).await.unwrap();
        assert_eq!(client.allowance(), Some(RequestAllowance { limit: 5000, remaining }));
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_stand_and_are_told_apart() {
    let refused = |status: u16, message: &str| {
        let body = format!(r#"{{"id":"some_id","message":"{message}","request_id":"id-1"}}"#);
        async move {
            let server = serve_in_turn(vec![answer(status, body)]).await;
            server.client().assign_reserved_ip([192, 0, 2, 1].into(), DropletId(7)).await
        }
    };
    let request = "POST /v2/reserved_ips/192.0.2.1/actions".to_owned();
    let detail = |message: &str| format!("{message} (some_id) [request id-1]");
    assert_eq!(
        refused(401, "Unable to authenticate you").await,
        Err(CloudError::Unauthorized { detail: detail("Unable to authenticate you") })
    );
    assert_eq!(
        refused(422, "Droplet already has a pending event.").await,
        Err(CloudError::Pending {
            request: request.clone(),
            detail: detail("Droplet already has a pending event.")
        })
    );
    assert_eq!(
        refused(409, "taken").await,
        Err(CloudError::Conflict { request: request.clone(), detail: detail("taken") })
    );
    assert_eq!(
        refused(422, "no").await,
        Err(CloudError::Invalid { request: request.clone(), detail: detail("no") })
    );
    assert_eq!(
        refused(403, "no").await,
        Err(CloudError::Forbidden { request, detail: detail("no") })
    );
    assert_eq!(
        refused(404, "no").await,
        Err(CloudError::NotFound {
            object: "reserved IP 192.0.2.1 or droplet 7 [request id-1]".to_owned()
        })
    );
}

#[tokio::test(start_paused = true)]
async fn the_token_is_sent_and_never_shown() {
    let server = serve_in_turn(vec![answer(401, ""), Reply::HangUp]).await;
    let client = server.client();
    let refused = client.droplet(DropletId(7)).await.unwrap_err();
    let lost = client.create_droplets(&create()).await.unwrap_err();
    assert_eq!(server.seen()[0].authorization, format!("Bearer {TOKEN}"));
    for text in
        [format!("{client:?}"), format!("{refused:?} {refused}"), format!("{lost:?} {lost}")]
    {
        assert!(!text.contains(TOKEN), "{text}");
    }
}
