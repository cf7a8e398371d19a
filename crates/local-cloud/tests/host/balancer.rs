//! The load balancer over real sockets: what the configuration says is what happens.

use std::net::Ipv4Addr;

use seachange_core::haproxy::LoadBalancerConfig;
use seachange_core::host::{Host, Target};
use seachange_local_cloud::doors::Stats;

use crate::forward::Client;
use crate::ground::{Ground, PORT, STACK, ground, ssh};

/// Where HAProxy's port 80 is.
const LISTEN: u16 = 10_080;

/// A configuration with these lines in `defaults` and these servers.
fn config(lines: &str, servers: &[(Ipv4Addr, u16)]) -> String {
    let servers: String = servers
        .iter()
        .enumerate()
        .map(|(number, (address, port))| format!(" server s{number} {address}:{port}\n"))
        .collect();
    format!(
        "defaults\n mode http\n timeout connect 20ms\n timeout server 10s\n{lines}frontend f\n bind :80\n default_backend b\nbackend b\n{servers}"
    )
}

fn stats(ground: &Ground) -> Stats {
    ground.doors().stats()
}

/// Two workers (1.0 and 1.1), and a load balancer on the floating IP of the first.
async fn pair(
    ground: &Ground,
    lines: &str,
) -> (Ipv4Addr, seachange_core::cloud::DropletId, Target) {
    let (old, _) = ground.worker(&ssh(), "1.0").await;
    let (new, _) = ground.worker(&ssh(), "1.1").await;
    let ip = ground.floating_ip(old).await;
    let balancer = ground.balancer(&ssh(), &config(lines, &[(ip, PORT)])).await;
    (ip, new, balancer)
}

#[tokio::test]
async fn by_default_connections_are_kept_and_stay_on_the_old_droplet() {
    let ground = ground().await;
    ground.world.with_manners(|_, races| races.connections_stay = true);
    let (ip, new, balancer) = pair(&ground, "").await;
    let mut client = Client::connect(balancer.address, LISTEN).await;
    assert_eq!(client.version().await, "1.0");
    ground.assign(ip, new).await;
    // The very thing the tutorial's haproxy.cfg does: users keep the old release, new users too.
    assert_eq!(client.version().await, "1.0");
    assert_eq!(Client::connect(balancer.address, LISTEN).await.version().await, "1.0");
    assert_eq!(stats(&ground).connections, 1);
}

#[tokio::test]
async fn without_reuse_the_kept_connection_is_one_client_s_own() {
    let ground = ground().await;
    ground.world.with_manners(|_, races| races.connections_stay = true);
    let (ip, new, balancer) = pair(&ground, " http-reuse never\n").await;
    let mut client = Client::connect(balancer.address, LISTEN).await;
    assert_eq!(client.version().await, "1.0");
    ground.assign(ip, new).await;
    assert_eq!(client.version().await, "1.0");
    assert_eq!(Client::connect(balancer.address, LISTEN).await.version().await, "1.1");
}

#[tokio::test]
async fn with_server_close_the_next_request_is_on_the_new_droplet() {
    let ground = ground().await;
    let (ip, new, balancer) = pair(&ground, " option http-server-close\n http-reuse never\n").await;
    let mut client = Client::connect(balancer.address, LISTEN).await;
    assert_eq!(client.version().await, "1.0");
    ground.assign(ip, new).await;
    assert_eq!(client.version().await, "1.1", "on the client's very same connection");
    assert_eq!(stats(&ground), Stats { requests: 2, failures: 0, retries: 0, connections: 2 });
}

#[tokio::test]
async fn a_dead_server_is_tried_again_elsewhere_with_redispatch() {
    let ground = ground().await;
    let (_, worker) = ground.worker(&ssh(), "1.0").await;
    let servers = [(worker.address, 9), (worker.address, PORT)];
    let text = config(" retries 1\n option redispatch\n", &servers);
    let balancer = ground.balancer(&ssh(), &text).await;
    let mut client = Client::connect(balancer.address, LISTEN).await;
    for _ in 0..2 {
        assert_eq!(client.version().await, "1.0");
    }
    let stats = stats(&ground);
    assert!(stats.retries >= 1 && stats.failures == 0, "{stats:?}");
}

#[tokio::test]
async fn without_a_server_it_is_503_and_counted() {
    let ground = ground().await;
    let text = config(" retries 1\n", &[(Ipv4Addr::LOCALHOST, 9)]);
    let balancer = ground.balancer(&ssh(), &text).await;
    let mut client = Client::connect(balancer.address, LISTEN).await;
    let (status, body) = client.get("/").await.unwrap();
    assert_eq!(status, 503);
    assert!(body.contains("No server is available to handle this request."));
    assert_eq!(stats(&ground), Stats { requests: 1, failures: 1, retries: 1, connections: 0 });
}

#[tokio::test]
async fn an_app_s_own_503_is_tried_again_only_where_that_is_asked_for() {
    let ground = ground().await;
    let (_, worker) = ground.worker(&ssh(), "unhealthy").await;
    for (lines, retries) in
        [(" retries 2\n", 0), (" retries 2\n retry-on all-retryable-errors\n", 2)]
    {
        let text = config(lines, &[(worker.address, PORT)]);
        let balancer = ground.balancer(&ssh(), &text).await;
        let before = stats(&ground).retries;
        let (status, body) =
            Client::connect(balancer.address, LISTEN).await.get("/").await.unwrap();
        assert_eq!((status, body.as_str()), (503, "unhealthy: the database is away\n"));
        assert_eq!(stats(&ground).retries - before, retries);
    }
}

#[tokio::test]
async fn a_reload_cuts_nobody_off() {
    let ground = ground().await;
    let (_, old) = ground.worker(&ssh(), "1.0").await;
    let (_, new) = ground.worker(&ssh(), "1.1").await;
    let balancer = ground.balancer(&ssh(), &config("", &[(old.address, PORT)])).await;
    let mut there = Client::connect(balancer.address, LISTEN).await;
    assert_eq!(there.version().await, "1.0");
    let reload = async || {
        let text = config("", &[(new.address, PORT)]);
        ssh().install_config(&balancer, &text).await.unwrap();
    };
    let (answer, ()) = tokio::join!(there.get("/slow?ms=300"), reload());
    assert_eq!(answer.unwrap().0, 200);
    assert_eq!(Client::connect(balancer.address, LISTEN).await.version().await, "1.1");
}

#[tokio::test]
async fn a_checked_server_that_is_down_is_left_out() {
    let ground = ground().await;
    let (_, worker) = ground.worker(&ssh(), "1.0").await;
    let line = format!(" server s {}:{PORT} check inter 10ms fall 1 rise 1\n", worker.address);
    let balancer = ground.balancer(&ssh(), &(config("", &[]) + &line)).await;
    let mut client = Client::connect(balancer.address, LISTEN).await;
    assert_eq!(client.version().await, "1.0");
    ssh().remove_container(&worker, STACK).await.unwrap();
    // Until the check has seen it the answer is 503 by way of retries, and from then on without one.
    loop {
        let before = stats(&ground).retries;
        assert_eq!(Client::connect(balancer.address, LISTEN).await.get("/").await.unwrap().0, 503);
        if stats(&ground).retries == before {
            break;
        }
    }
}

#[tokio::test]
async fn our_own_configuration_moves_users_without_a_failure() {
    let ground = ground().await;
    let (old, _) = ground.worker(&ssh(), "1.0").await;
    let (new, _) = ground.worker(&ssh(), "1.1").await;
    let ip = ground.floating_ip(old).await;
    let text = LoadBalancerConfig { listen: 80, floating_ip: ip, port: PORT }.render();
    let balancer = ground.balancer(&ssh(), &text).await;
    let users: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(balancer.address, LISTEN).await;
                let mut seen = Vec::new();
                while seen.last().is_none_or(|version| version != "1.1") {
                    seen.push(client.version().await);
                }
                seen
            })
        })
        .collect();
    ground.assign(ip, new).await;
    for user in users {
        let seen = user.await.unwrap();
        assert!(seen.iter().all(|version| version == "1.0" || version == "1.1"), "{seen:?}");
    }
    assert_eq!(stats(&ground).failures, 0);
}

#[tokio::test]
async fn a_detour_takes_new_requests_and_counts_those_that_are_left() {
    crate::suite::detour(&ground().await, &ssh()).await;

    let ground = ground().await;
    let (old, _) = ground.worker(&ssh(), "1.0").await;
    let (_, new) = ground.worker(&ssh(), "1.1").await;
    let ip = ground.floating_ip(old).await;
    let text = LoadBalancerConfig { listen: 80, floating_ip: ip, port: PORT }.render();
    let balancer = ground.balancer(&ssh(), &text).await;
    let to = Some(std::net::SocketAddrV4::new(new.address, PORT));
    let mut slow = Client::connect(balancer.address, LISTEN).await;
    let mut quick = Client::connect(balancer.address, LISTEN).await;
    let host = ssh();
    let meanwhile = async {
        // The slow one is on its way when the count says so.
        while host.detour(&balancer, None).await.unwrap() == 0 {}
        assert_eq!(host.detour(&balancer, to).await, Ok(1));
        assert_eq!(quick.version().await, "1.1");
        while host.detour(&balancer, to).await.unwrap() > 0 {}
    };
    let (answer, ()) = tokio::join!(slow.get("/slow?ms=500"), meanwhile);
    assert!(answer.unwrap().1.starts_with("1.0 after"));
    assert_eq!(stats(&ground).failures, 0);
}
