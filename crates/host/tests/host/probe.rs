//! Probes, from the droplet and from here.

use std::net::Ipv4Addr;
use std::time::Duration;

use seachange_core::host::{Host, Probe, ProbeOutcome, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::droplet::Droplet;

/// An app that answers every connection with these bytes, then keeps it open; `{request}` becomes the request.
async fn app(answer: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                stream.write_all(answer.replace("{request}", &request).as_bytes()).await.unwrap();
                if answer.contains("hang up") {
                    return;
                }
                drop(stream.read(&mut [0; 1]).await);
            });
        }
    });
    port
}

const ECHO: &str = "HTTP/1.1 503 Service Unavailable\r\n\r\n{request} hang up";
const ENDLESS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";

fn probe(route: Route) -> Probe {
    Probe { route, path: "/health?deep=1".to_owned(), timeout: Duration::from_secs(20) }
}

fn no_answer(outcome: ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::NoAnswer { detail } => detail,
        answer @ ProbeOutcome::Answer { .. } => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn a_container_is_asked_from_the_droplet_itself() {
    let droplet = Droplet::start().await;
    let port = app(ECHO).await;
    let outcome =
        droplet.host().probe(&probe(Route::Container { target: droplet.target(), port })).await;
    let ProbeOutcome::Answer { status, body, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(status, 503);
    assert!(body.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{body}");
    assert!(body.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{body}");
    assert_eq!(droplet.world().connections, 1);
}

#[tokio::test]
async fn the_public_way_is_asked_from_here_under_the_domain() {
    let droplet = Droplet::start().await;
    let port = app(ECHO).await;
    let domain = Some("www.gotcha-app.de".to_owned());
    let route = Route::Public { address: Ipv4Addr::LOCALHOST, port, domain };
    let outcome = droplet.host().probe(&probe(route)).await;
    let ProbeOutcome::Answer { body, .. } = outcome else { panic!("{outcome:?}") };
    assert!(body.contains(&format!("host: www.gotcha-app.de:{port}\r\n")), "{body}");
    assert_eq!(droplet.world().connections, 0, "SSH was used");
}

#[tokio::test]
async fn whatever_goes_wrong_is_an_outcome() {
    let droplet = Droplet::start().await;
    let host = droplet.host();
    let here = |port| Route::Public { address: Ipv4Addr::LOCALHOST, port, domain: None };
    let there = |port| Route::Container { target: droplet.target(), port };
    let nobody =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let mute = app("").await;
    let gibberish = app("SSH-2.0-OpenSSH_9.2\r\n hang up").await;
    assert_eq!(no_answer(host.probe(&probe(here(nobody))).await), "connection refused");
    assert_eq!(no_answer(host.probe(&probe(there(nobody))).await), "connection refused");
    assert_eq!(no_answer(host.probe(&probe(here(gibberish))).await), "the answer is not HTTP");
    let hurried = |route, timeout| Probe { timeout, ..probe(route) };
    let silent = hurried(there(mute), Duration::from_millis(50));
    assert_eq!(no_answer(host.probe(&silent).await), "timed out after 50ms");
    let unasked = Probe { path: "no slash here".to_owned(), ..probe(here(gibberish)) };
    assert!(no_answer(host.probe(&unasked).await).contains("`no slash here`"));
    droplet.cut().await;
    assert_eq!(no_answer(host.probe(&probe(there(nobody))).await), "connection refused");
}

#[tokio::test]
async fn a_body_is_read_no_further_than_4_kib() {
    let droplet = Droplet::start().await;
    let head: &'static str = Box::leak(format!("{ENDLESS}{}", "a".repeat(5000)).into_boxed_str());
    let port = app(head).await;
    let route = Route::Public { address: Ipv4Addr::LOCALHOST, port, domain: None };
    let outcome = droplet.host().probe(&probe(route)).await;
    assert!(
        matches!(outcome, ProbeOutcome::Answer { status: 200, ref body, .. } if body.len() == 4096),
        "{outcome:?}"
    );
}
