//! What is read, and what is refused in which words.

use super::*;
use seachange_core::haproxy::LoadBalancerConfig;

fn check(text: &str, wanted: &str) {
    let complaints = read(text, "/etc/haproxy/haproxy.cfg").unwrap_err();
    assert!(
        complaints.iter().any(|complaint| complaint.contains(wanted)),
        "no `{wanted}` in {complaints:#?}"
    );
    assert_eq!(complaints.last().unwrap(), "Fatal errors found in configuration.");
}

#[test]
fn our_own_configuration_is_read_as_it_is_meant() {
    let ours =
        LoadBalancerConfig { listen: 80, floating_ip: Ipv4Addr::new(203, 0, 113, 5), port: 8080 };
    let config = read(&ours.render(), "x").unwrap();
    let [frontend] = &config.frontends[..] else { panic!("one front end") };
    let backend = &config.backends[&frontend.backend];
    assert_eq!(frontend.binds, [(None, 80)]);
    assert_eq!(frontend.connections(backend), Connections::ServerClose);
    assert!(frontend.forwarded_for(backend));
    assert_eq!(backend.options.reuse, Reuse::Never);
    let all =
        RetryOn { connect: true, empty: true, junk: true, timeout: true, server_errors: true };
    assert_eq!((backend.options.retries, backend.options.retry_on), (3, all));
    assert_eq!(backend.options.connect_timeout, Some(Duration::from_secs(5)));
    assert_eq!((backend.servers[0].address, backend.servers[0].port), (ours.floating_ip, 8080));
    assert_eq!(backend.servers[0].check, None);
}

#[test]
fn the_packaged_file_is_valid_and_does_nothing() {
    assert_eq!(read(PACKAGED, "x"), Ok(Config::default()));
}

#[test]
fn without_a_word_about_it_connections_are_kept_and_shared() {
    let text = "defaults\n mode http\nfrontend f\n bind *:8000\n default_backend b\nbackend b\n server s 10.0.0.1:80 check inter 50 fall 1\n";
    let config = read(text, "x").unwrap();
    let backend = &config.backends["b"];
    assert_eq!(config.frontends[0].connections(backend), Connections::KeepAlive);
    assert_eq!(backend.options.reuse, Reuse::Shared);
    assert_eq!(backend.options.retry_on, RetryOn::default());
    let check = Check { interval: Duration::from_millis(50), fall: 1, rise: 2 };
    assert_eq!(backend.servers[0].check, Some(check));
}

#[test]
fn defaults_are_inherited_until_the_next_defaults() {
    let text = "defaults\n mode http\n retries 7\n option forwardfor\nbackend a\n no option forwardfor\ndefaults\n mode http\nbackend b\n";
    let config = read(text, "x").unwrap();
    assert_eq!(
        (config.backends["a"].options.retries, config.backends["b"].options.retries),
        (7, 3)
    );
    assert!(!config.backends["a"].options.forwarded_for);
}

#[test]
fn refusals_name_the_line() {
    check(
        "frontend f\n\tmode http\n\tbindd :80\n",
        "parsing [/etc/haproxy/haproxy.cfg:3] : unknown keyword 'bindd' in 'frontend' section",
    );
    check("backend b\n server s not-an-address:80\n", "'server s' : could not resolve address");
    check("backend b\n server s 10.0.0.1:80 sendproxy\n", "unknown keyword 'sendproxy'");
    check("defaults\n timeout connect 5x\n", "timeout connect: unexpected character");
    check("defaults\n option nonsense\n", "unknown option 'nonsense'");
    check("bind :80\n", "unknown keyword 'bind' in 'none' section");
    check(
        "frontend f\n mode http\n bind :80\n default_backend gone\n",
        "unable to find required default_backend: 'gone'",
    );
    check("frontend f\n bind :80\n", "`mode http` only");
}

#[test]
fn a_cut_file_is_noticed() {
    check("global\n    daemon", "Missing LF on last line");
}

#[test]
fn all_complaints_come_at_once() {
    let complaints = read("global\n x\n y\n", "f").unwrap_err();
    assert_eq!(complaints.len(), 4, "{complaints:?}");
}

#[test]
fn comments_and_quotes_are_no_words() {
    let text = "defaults # mode tcp\n mode \"http\" # really\n# nothing\nbackend b\n";
    assert!(read(text, "x").unwrap().backends["b"].options.http);
}

#[test]
fn whatever_it_depends_on_our_own_configuration_says_that_and_nothing_else() {
    let mut dice = 20_261_123_u64;
    let mut roll = || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 32) as u32
    };
    for _ in 0..5_000 {
        let (listen, port) = ((roll() as u16).max(1), (roll() as u16).max(1));
        let ours = LoadBalancerConfig { listen, floating_ip: Ipv4Addr::from(roll()), port };
        let text = ours.render();
        let config = read(&text, "x").unwrap_or_else(|complaints| panic!("{complaints:?}\n{text}"));
        let [frontend] = &config.frontends[..] else { panic!("one front end\n{text}") };
        let [server, detour] = &config.backends[&frontend.backend].servers[..] else {
            panic!("two servers\n{text}")
        };
        assert_eq!(frontend.binds, [(None, listen)], "{text}");
        assert_eq!((server.address, server.port), (ours.floating_ip, port), "{text}");
        assert_eq!((server.usage, detour.usage), (Usage::Ready, Usage::Maint), "{text}");
    }
}

#[test]
fn a_configuration_that_is_cut_off_or_torn_is_read_or_refused() {
    let ours =
        LoadBalancerConfig { listen: 80, floating_ip: Ipv4Addr::new(203, 0, 113, 5), port: 8080 };
    let text = ours.render();
    for end in 0..text.len() {
        let cut = read(&text[..end], "x");
        let torn = read(&format!("{}{}", &text[end..], &text[..end]), "x");
        for complaints in [cut, torn].into_iter().filter_map(Result::err) {
            assert!(complaints.len() > 1, "refused without a word at {end}");
        }
    }
}
