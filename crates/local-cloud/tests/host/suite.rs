//! What any `Host` must do, run over sockets and in process alike.

use std::time::Duration;

use seachange_core::bootstrap::Bootstrap;
use seachange_core::haproxy::LoadBalancerConfig;
use seachange_core::host::{
    Balancing, Boot, ContainerState, Host, HostError, HostKey, Installed, Probe, ProbeOutcome,
    Registry, RegistryError, Route, Service, Target,
};
use seachange_core::image::ImageRef;

use crate::ground::{Ground, PORT, STACK, ask};

/// First contact: readiness of the right service, and a host key that is pinned from then on.
pub(crate) async fn contact(ground: &Ground, host: &dyn Host) {
    let (_, worker) = ground.droplet("worker", Bootstrap::Docker).await;
    let seen = host.contact(&worker, Service::Docker).await.unwrap();
    assert_eq!(seen.boot, Boot::Ready);
    assert!(matches!(
        host.contact(&worker, Service::Haproxy).await.unwrap().boot,
        Boot::Running { .. }
    ));
    let pinned = Target { host_key: Some(seen.host_key.clone()), ..worker.clone() };
    assert_eq!(host.contact(&pinned, Service::Docker).await.unwrap(), seen);

    let (_, other) = ground.droplet("other", Bootstrap::Docker).await;
    let mistaken = Target { host_key: Some(seen.host_key), ..other };
    let error = host.contact(&mistaken, Service::Docker).await.unwrap_err();
    let HostError::WrongHostKey { expected, observed, .. } = error else { panic!("{error:?}") };
    assert!(expected.starts_with("SHA256:") && observed.starts_with("SHA256:"));
    assert_ne!(expected, observed);

    let nobody = Target { address: [127, 255, 0, 9].into(), ..worker };
    let error = host.contact(&nobody, Service::Docker).await.unwrap_err();
    assert!(matches!(error, HostError::Unreachable { .. }), "{error:?}");
}

/// The key of the first contact is replaced by one that is made on the droplet; nobody is trusted at first sight.
pub(crate) async fn host_keys(ground: &Ground, host: &dyn Host) {
    let first = host.first_host_key();
    let (id, at) = ground.droplet_with("keyed", Bootstrap::Docker, Some(&first)).await;
    let with = |key: &HostKey, next: Option<&HostKey>| Target {
        host_key: Some(key.clone()),
        next_host_key: next.cloned(),
        ..at.clone()
    };
    let shown = async |target: &Target| {
        loop {
            match host.contact(target, Service::Docker).await {
                // A real server needs a moment to read its key again, and refuses meanwhile.
                Err(HostError::Unreachable { .. }) if ground.is_real() => ground.moment().await,
                other => break other.map(|contact| contact.host_key),
            }
        }
    };
    assert_eq!(shown(&with(&first.public, None)).await.as_ref(), Ok(&first.public));

    let next = host.next_host_key(&with(&first.public, None)).await.unwrap();
    assert_eq!(host.next_host_key(&with(&first.public, None)).await.as_ref(), Ok(&next));
    let either = with(&first.public, Some(&next));
    assert_eq!(shown(&either).await.as_ref(), Ok(&first.public), "it is not in use yet");
    for _ in 0..2 {
        host.use_next_host_key(&either).await.unwrap();
        assert_eq!(shown(&either).await.as_ref(), Ok(&next));
    }
    assert_eq!(shown(&with(&next, None)).await.as_ref(), Ok(&next));
    let old = with(&first.public, None);
    assert!(matches!(shown(&old).await, Err(HostError::WrongHostKey { .. })));

    // Nothing is done for somebody who shows neither.
    ground.impersonate(id, at.address);
    host.forget(at.address).await;
    let mine = with(&next, None);
    let before = ground.world.with_machine(at.address, |machine, _| machine.revision());
    let refused = [
        shown(&either).await.err(),
        host.next_host_key(&mine).await.err(),
        host.use_next_host_key(&mine).await.err(),
        host.containers(&mine, STACK).await.err(),
    ];
    for error in refused {
        assert!(matches!(error, Some(HostError::WrongHostKey { .. })), "{error:?}");
    }
    let after = ground.world.with_machine(at.address, |machine, _| machine.revision());
    assert_eq!(before, after);
}

/// A container is made, left, replaced, looked at and removed.
pub(crate) async fn containers(ground: &Ground, host: &dyn Host) {
    let (_, worker) = ground.droplet("worker", Bootstrap::Docker).await;
    assert_eq!(host.containers(&worker, STACK).await, Ok(Vec::new()));
    ground.run(host, &worker, "1.0").await;
    let first = host.ensure_container(&worker, &ground.spec("1.0")).await.unwrap();
    assert_eq!((first.name.as_str(), &first.state), (STACK, &ContainerState::Running));
    assert_eq!(first.labels["digest"], ground.spec("1.0").digest.as_str());
    assert_eq!(host.containers(&worker, STACK).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(host.containers(&worker, "another").await.unwrap(), []);

    ground.run(host, &worker, "1.1").await;
    let second = host.containers(&worker, STACK).await.unwrap();
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].id, first.id);
    let lines = host.logs(&worker, STACK, 1).await.unwrap();
    assert_eq!(lines, ["listening on 0.0.0.0:8080"]);
    assert_eq!(host.logs(&worker, STACK, 50).await.unwrap().len(), 2);

    host.remove_container(&worker, STACK).await.unwrap();
    host.remove_container(&worker, STACK).await.unwrap();
    assert_eq!(host.containers(&worker, STACK).await, Ok(Vec::new()));
    assert!(matches!(host.logs(&worker, STACK, 1).await, Err(HostError::Failed { .. })));
    assert!(matches!(
        probe(host, &worker, "/").await,
        ProbeOutcome::NoAnswer { detail } if detail == "connection refused"
    ));
}

/// A pull of what is not there is final; one of what is there reports progress to its end, and is free the second time.
pub(crate) async fn pulls(ground: &Ground, host: &dyn Host) {
    let (_, worker) = ground.droplet("worker", Bootstrap::Docker).await;
    let spec = ground.spec("1.0");
    let missing = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let error = host.pull(&worker, &spec.image, &missing, None, &|_, _| ()).await.unwrap_err();
    assert!(matches!(error, HostError::PullFailed { .. }), "{error:?}");

    let seen = std::sync::Mutex::new(Vec::new());
    let note = |done, all| seen.lock().unwrap().push((done, all));
    host.pull(&worker, &spec.image, &spec.digest, None, &note).await.unwrap();
    let (done, all) = *seen.lock().unwrap().last().unwrap();
    assert_eq!(Some(done), all);
    seen.lock().unwrap().clear();
    host.pull(&worker, &spec.image, &spec.digest, None, &note).await.unwrap();
    assert!(seen.lock().unwrap().is_empty());
    // Pulled under another name it is another image.
    let other: ImageRef = "registry.example/other:1.0".parse().unwrap();
    let spec = seachange_core::host::ContainerSpec { image: other, ..spec };
    assert!(matches!(host.ensure_container(&worker, &spec).await, Err(HostError::Failed { .. })));
}

/// Healthy, unhealthy and crashing versions, seen by probes and states.
pub(crate) async fn behaviours(ground: &Ground, host: &dyn Host) {
    let (_, worker) = ground.worker(host, "1.0").await;
    let ProbeOutcome::Answer { status, body, .. } = probe(host, &worker, "/").await else {
        panic!("1.0 answers")
    };
    assert_eq!((status, body.as_str()), (200, "1.0\n"));
    let outcome = probe(host, &worker, "/slow?ms=1").await;
    assert!(matches!(outcome, ProbeOutcome::Answer { status: 200, .. }), "{outcome:?}");

    ground.run(host, &worker, "unhealthy").await;
    let outcome = probe(host, &worker, "/").await;
    assert!(matches!(outcome, ProbeOutcome::Answer { status: 503, .. }), "{outcome:?}");
    let lines = host.logs(&worker, STACK, 50).await.unwrap();
    assert!(lines.iter().any(|line| line.contains("database")), "{lines:?}");

    ground.run(host, &worker, "crash").await;
    let outcome = probe(host, &worker, "/").await;
    assert!(matches!(outcome, ProbeOutcome::NoAnswer { .. }), "{outcome:?}");
    ground.run(host, &worker, "1.1").await;
    assert!(matches!(probe(host, &worker, "/").await, ProbeOutcome::Answer { status: 200, .. }));
}

/// A configuration is installed once, and a bad one not at all.
pub(crate) async fn configuration(ground: &Ground, host: &dyn Host) {
    let (_, balancer) = ground.droplet("balancer", Bootstrap::Haproxy).await;
    let config_of = async |target: &Target| host.balancing(target).await.unwrap().config;
    let packaged = config_of(&balancer).await;
    let config = LoadBalancerConfig { listen: 80, floating_ip: [127, 0, 0, 1].into(), port: 1 };
    let install = async |text: &str| host.install_config(&balancer, text).await;
    assert_eq!(install(&config.render()).await, Ok(Installed::Changed));
    assert_eq!(install(&config.render()).await, Ok(Installed::AlreadySo));
    assert_eq!(config_of(&balancer).await, Some(config.digest()));
    assert_ne!(packaged, Some(config.digest()));

    let error = install("frontend users\n    mode http\n    bindd :80\n").await.unwrap_err();
    let HostError::ConfigRefused { detail, .. } = error else { panic!("{error:?}") };
    assert!(detail.contains("unknown keyword 'bindd' in 'frontend' section"), "{detail}");
    assert_eq!(config_of(&balancer).await, Some(config.digest()));

    let (_, worker) = ground.droplet("worker", Bootstrap::Docker).await;
    assert_eq!(config_of(&worker).await, None);
    assert!(matches!(
        host.install_config(&worker, &config.render()).await,
        Err(HostError::Failed { .. })
    ));
}

/// A way round the floating IP: new requests go straight to a worker, and the next look and the next file know of it.
pub(crate) async fn detour(ground: &Ground, host: &dyn Host) {
    let (old, _) = ground.worker(host, "1.0").await;
    let (_, new) = ground.worker(host, "1.1").await;
    let ip = ground.floating_ip(old).await;
    let config = LoadBalancerConfig { listen: 80, floating_ip: ip, port: PORT };
    let balancer = ground.balancer(host, &config.render()).await;
    let answer = |version: &str| Ok((200, version.to_owned()));
    let with = |detour| Ok(Balancing { config: Some(config.digest()), detour });
    let to = Some(std::net::SocketAddrV4::new(new.address, PORT));
    for _ in 0..2 {
        assert_eq!(host.detour(&balancer, to).await, Ok(0));
        assert_eq!(ask(host, balancer.address, 80).await, answer("1.1"));
        assert_eq!(host.balancing(&balancer).await, with(true));
    }
    for _ in 0..2 {
        assert_eq!(host.detour(&balancer, None).await, Ok(0));
        assert_eq!(ask(host, balancer.address, 80).await, answer("1.0"));
        assert_eq!(host.balancing(&balancer).await, with(false));
    }
    assert_eq!(host.install_config(&balancer, &config.render()).await, Ok(Installed::AlreadySo));
    // A run that died meanwhile: the file is as it was, and reloaded all the same.
    assert_eq!(host.detour(&balancer, to).await, Ok(0));
    assert_eq!(host.install_config(&balancer, &config.render()).await, Ok(Installed::Changed));
    assert_eq!(ask(host, balancer.address, 80).await, answer("1.0"));
    assert_eq!(host.balancing(&balancer).await, with(false));
    // A configuration without one.
    let text = config.render().replace(" detour ", " another ");
    assert_eq!(host.install_config(&balancer, &text).await, Ok(Installed::Changed));
    let error = host.detour(&balancer, to).await.unwrap_err();
    assert!(matches!(error, HostError::Failed { .. }), "{error:?}");
}

/// The way of users: floating IP and load balancer, before and after the address moves.
pub(crate) async fn ways(ground: &Ground, host: &dyn Host) {
    let (old, _) = ground.worker(host, "1.0").await;
    let (new, new_target) = ground.worker(host, "1.1").await;
    let ip = ground.floating_ip(old).await;
    let config = LoadBalancerConfig { listen: 80, floating_ip: ip, port: PORT };
    let balancer = ground.balancer(host, &config.render()).await;
    let answer = |version: &str| Ok((200, version.to_owned()));
    assert_eq!(ask(host, ip, PORT).await, answer("1.0"));
    assert_eq!(ask(host, balancer.address, 80).await, answer("1.0"));
    ground.assign(ip, new).await;
    assert_eq!(ask(host, ip, PORT).await, answer("1.1"));
    assert_eq!(ask(host, balancer.address, 80).await, answer("1.1"));
    host.remove_container(&new_target, STACK).await.unwrap();
    assert!(ask(host, ip, PORT).await.is_err());
    assert_eq!(ask(host, balancer.address, 80).await.unwrap().0, 503);
}

/// Tags become digests; what is not there, and what is not allowed, are told apart.
pub(crate) async fn registry(ground: &Ground, registry: &dyn Registry, open_to_all: bool) {
    let resolve = async |text: &str| registry.resolve(&text.parse().unwrap(), None).await;
    let answer = resolve("registry.example/team/webgui:1.1").await;
    if open_to_all {
        assert_eq!(answer, Ok(ground.spec("1.1").digest));
        let pinned = format!("registry.example/webgui@{}", ground.spec("1.0").digest);
        assert_eq!(resolve(&pinned).await, Ok(ground.spec("1.0").digest));
        let missing = resolve("registry.example/webgui:9.9").await;
        assert!(matches!(missing, Err(RegistryError::NotFound { .. })), "{missing:?}");
    } else {
        assert!(matches!(answer, Err(RegistryError::Refused { .. })), "{answer:?}");
        let missing = resolve("registry.example/webgui:9.9").await;
        assert!(matches!(missing, Err(RegistryError::Refused { .. })), "{missing:?}");
    }
}

pub(crate) async fn probe(host: &dyn Host, target: &Target, path: &str) -> ProbeOutcome {
    let route = Route::Container { target: target.clone(), port: PORT };
    let timeout = Duration::from_secs(20);
    host.probe(&Probe { route, path: path.to_owned(), timeout }).await
}

/// A key that no host shows.
pub(crate) fn strange_host_key() -> HostKey {
    HostKey(crate::ground::key(200).1)
}
