//! What goes wrong does so in the same way over HTTP and in process, and exactly as the rule says.

#![expect(clippy::unwrap_used, reason = "a world that cannot be set up has failed")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use seachange_core::cloud::{Cloud, CloudError, DropletCreate, DropletId, DropletStatus};
use seachange_local_cloud::fault::{Body, Effect, Rule};
use seachange_local_cloud::http::Http;
use seachange_local_cloud::in_process::InProcess;
use seachange_local_cloud::world::{Races, Timings, World, WorldConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn world(races: Races) -> Arc<World> {
    World::new(WorldConfig { races, timings: Timings::quick(), ..WorldConfig::default() })
}

fn client(world: &Arc<World>) -> InProcess {
    InProcess::new(Arc::clone(world), Duration::from_millis(10))
}

fn strike(world: &World, method: &str, path: &str, effect: Effect) {
    world.with_faults(|faults| faults.add(Rule::next(method, path, effect)));
}

fn create(names: &[String]) -> DropletCreate {
    DropletCreate {
        names: names.to_vec(),
        region: "fra1".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: "ubuntu-24-04-x64".to_owned(),
        ssh_keys: Vec::new(),
        tags: vec!["seachange:t".to_owned()],
        user_data: None,
    }
}

async fn one(cloud: &InProcess) -> DropletId {
    let made = cloud.create_droplets(&create(&["one".to_owned()])).await.unwrap();
    while cloud.droplet(made[0].id).await.unwrap().status != DropletStatus::Active {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    made[0].id
}

/// Sends one request by hand, and reads all that comes until the connection closes.
async fn raw(door: &Http, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(door.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    drop(stream.read_to_end(&mut seen).await);
    String::from_utf8(seen).unwrap()
}

const TAG: &str = "POST /v2/tags HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\nconnection: close\r\n\
                   content-length: 12\r\n\r\n{\"name\":\"a\"}";

#[tokio::test]
async fn a_lost_answer_is_not_one_byte_of_an_answer() {
    let world = world(Races::default());
    let door = Http::open(Arc::clone(&world), (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let tags = || world.snapshot()["tags"].as_object().unwrap().len();

    strike(&world, "POST", "/v2/tags", Effect::DropBefore);
    assert_eq!((raw(&door, TAG).await.as_str(), tags()), ("", 0));
    strike(&world, "POST", "/v2/tags", Effect::DropAfter);
    assert_eq!((raw(&door, TAG).await.as_str(), tags()), ("", 1));
    assert!(raw(&door, TAG).await.starts_with("HTTP/1.1 201"));
}

#[tokio::test]
async fn timings_and_races_are_set_over_http() {
    let world = world(Races::default());
    let door = Http::open(Arc::clone(&world), (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let send = async |method: &str, path: &str, body: &str| {
        let length = body.len();
        raw(&door, &format!("{method} /_local/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")).await
    };
    let put = send("PUT", "races", "{\"pending_events\":false}").await;
    assert!(put.starts_with("HTTP/1.1 204"), "{put}");
    let shown = send("GET", "timings", "").await;
    let (_, timings) = shown.split_once("\r\n\r\n").unwrap();
    let slow = timings.replace("\"action\":300", "\"action\":7000");
    assert_ne!(slow, timings);
    assert!(send("PUT", "timings", &slow).await.starts_with("HTTP/1.1 204"));
    world.with_manners(|timings, races| {
        assert_eq!((timings.action, races.pending_events), (Duration::from_secs(7), false));
        assert!(races.shared_ttl, "what is left out is as it usually is");
    });
    assert!(send("PUT", "races", "{\"pending\":false}").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_failure_has_the_form_that_the_rule_says() {
    let world = world(Races { stale_reset: true, ..Races::default() });
    let door = Http::open(Arc::clone(&world), (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let fail =
        |status, body, retry_after| Effect::Fail { status, body, message: None, retry_after };
    strike(&world, "", "/v2/tags", fail(504, Body::Html, None));
    let page = raw(&door, TAG).await;
    assert!(page.starts_with("HTTP/1.1 504") && page.contains("content-type: text/html"), "{page}");
    strike(&world, "", "/v2/tags", fail(429, Body::Json, Some(7)));
    let refused = raw(&door, TAG).await;
    assert!(
        refused.contains("retry-after: 7") && refused.contains("too_many_requests"),
        "{refused}"
    );
    strike(&world, "", "/v2/tags", fail(502, Body::Empty, None));
    assert!(raw(&door, TAG).await.ends_with("\r\n\r\n"));
    let reset = refused.lines().find_map(|line| line.strip_prefix("ratelimit-reset: ")).unwrap();
    assert!(reset.parse::<i64>().unwrap() < world.now().as_second(), "{reset} has not passed");
}

#[tokio::test(start_paused = true)]
async fn an_action_errors_when_its_own_request_was_struck() {
    let world = world(Races::default());
    let cloud = client(&world);
    let droplet = one(&cloud).await;
    let ip = cloud.create_reserved_ip(droplet).await.unwrap().ip;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = cloud.create_droplets(&create(&["two".to_owned()])).await.unwrap()[0].id;
    tokio::time::sleep(Duration::from_secs(1)).await;

    strike(&world, "POST", "/v2/reserved_ips/*/actions", Effect::ActionErrors);
    cloud.assign_reserved_ip(ip, other).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cloud.reserved_ip(ip).await.unwrap().droplet, Some(droplet));
    cloud.assign_reserved_ip(ip, other).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cloud.reserved_ip(ip).await.unwrap().droplet, Some(other));

    strike(&world, "POST", "/v2/droplets", Effect::ActionErrors);
    let lost = cloud.create_droplets(&create(&["three".to_owned()])).await.unwrap()[0].id;
    assert!(cloud.droplet(lost).await.is_ok());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(cloud.droplet(lost).await, Err(CloudError::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_delete_is_answered_and_does_nothing() {
    let world = world(Races::default());
    let cloud = client(&world);
    let droplet = one(&cloud).await;
    strike(&world, "DELETE", "/v2/droplets/*", Effect::Forget);
    cloud.delete_droplet(droplet).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(cloud.droplet(droplet).await.is_ok());
    cloud.delete_droplet(droplet).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(cloud.droplet(droplet).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_address_that_was_left_is_not_given_again_at_once() {
    let world = world(Races::default());
    let cloud = client(&world);
    let first = one(&cloud).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = cloud.droplet(first).await.unwrap().public_ipv4;
    cloud.delete_droplet(first).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let second = one(&cloud).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_ne!(cloud.droplet(second).await.unwrap().public_ipv4, before);
}

#[tokio::test(start_paused = true)]
async fn pages_are_requests_of_their_own_and_shift_under_a_reader() {
    let world = world(Races { newest_first: true, ..Races::default() });
    let cloud = client(&world);
    for batch in 0..21 {
        let names: Vec<String> = (0..10).map(|at| format!("d-{batch}-{at}")).collect();
        cloud.create_droplets(&create(&names)).await.unwrap();
    }
    let pages = || world.requests().iter().filter(|(method, _)| method == "GET").count();
    assert_eq!(cloud.droplets_by_tag("seachange:t").await.unwrap().len(), 210);
    assert_eq!(pages(), 2);
    strike(&world, "GET", "/v2/droplets", Effect::fail(503));
    world.with_faults(|faults| {
        faults.add(Rule { after: 1, ..Rule::next("GET", "/v2/droplets", Effect::fail(503)) });
    });
    assert!(cloud.droplets_by_tag("seachange:t").await.is_err(), "the first page is struck");
    assert!(cloud.droplets_by_tag("seachange:t").await.is_err(), "and then the second");

    let late = client(&world);
    let (read, made) = tokio::join!(cloud.droplets_by_tag("seachange:t"), async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        late.create_droplets(&create(&["late".to_owned()])).await
    });
    made.unwrap();
    let read = read.unwrap();
    let ids: std::collections::BTreeSet<_> = read.iter().map(|droplet| droplet.id).collect();
    assert!(ids.len() < read.len(), "a create between two pages shows one droplet twice");
}

#[tokio::test(start_paused = true)]
async fn without_pending_events_nothing_is_refused_for_being_busy() {
    for pending_events in [true, false] {
        let world = world(Races { pending_events, ..Races::default() });
        let cloud = client(&world);
        let droplet = one(&cloud).await;
        let ip = cloud.create_reserved_ip(droplet).await.unwrap().ip;
        let again = cloud.assign_reserved_ip(ip, droplet).await;
        assert_eq!(matches!(again, Err(CloudError::Pending { .. })), pending_events, "{again:?}");
    }
}
