//! A first boot, stage by stage.

use super::*;
use seachange_core::bootstrap::Bootstrap;

const TIMINGS: BootTimings =
    BootTimings { ssh: Duration::from_secs(2), cloud_init: Duration::from_secs(9) };

/// A machine that became active at the beginning of time.
pub(super) fn booted(user_data: Option<&str>) -> Machine {
    Machine::boot(DropletId(7), user_data, Timestamp::UNIX_EPOCH, &TIMINGS, 42)
}

pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn ssh_comes_before_the_end_of_cloud_init() {
    let machine = booted(Bootstrap::Docker.text());
    assert!(!machine.answers_ssh(at(1)) && machine.answers_ssh(at(2)));
    assert_eq!((machine.setup(at(8)), machine.setup(at(9))), (Setup::Running, Setup::Done));
    assert_eq!(machine.next_event(at(0)), Some(at(2)));
    assert_eq!(machine.next_event(at(2)), Some(at(9)));
    assert_eq!(machine.next_event(at(9)), None);
}

#[test]
fn what_is_installed_depends_on_the_user_data() {
    let installed = |user_data: Option<&str>| {
        let machine = booted(user_data);
        (machine.has_docker(at(9)), machine.has_haproxy(at(9)))
    };
    assert_eq!(installed(Bootstrap::Docker.text()), (true, false));
    assert_eq!(installed(Bootstrap::Haproxy.text()), (false, true));
    assert_eq!(installed(None), (false, false));
    assert!(!booted(Bootstrap::Docker.text()).has_docker(at(8)));
}

#[test]
fn a_package_that_does_not_exist_ends_cloud_init_in_an_error() {
    let machine = booted(Some("#cloud-config\npackages:\n  - docker.oi\nruncmd:\n  - [true]\n"));
    assert_eq!(machine.setup(at(8)), Setup::Running);
    let Setup::Failed { detail } = machine.setup(at(9)) else { panic!("it must fail") };
    assert!(detail.contains("Unable to locate package docker.oi"), "{detail}");
    assert!(!machine.has_docker(at(9)));
}

#[test]
fn a_host_key_belongs_to_a_droplet_and_its_world() {
    let key = |id, seed| Machine::boot(DropletId(id), None, at(0), &TIMINGS, seed).host_key();
    assert_eq!(key(1, 1), key(1, 1));
    assert_ne!(key(1, 1), key(2, 1));
    assert_ne!(key(1, 1), key(1, 2));
    assert!(key(1, 1).0.starts_with("ssh-ed25519 AAAA"));
}

#[test]
fn looking_is_no_change_and_a_reload_takes_only_a_good_file() {
    let mut machine = booted(Bootstrap::Haproxy.text());
    assert_eq!(machine.balancer(at(8)), None);
    machine.settle(at(9));
    let revision = machine.revision();
    machine.settle(at(10));
    assert_eq!(machine.balancer(at(9)), Some(haproxy::Config::default()));
    assert_eq!(machine.revision(), revision);

    let good = "frontend f\n mode http\n bind :80\n";
    machine.files_mut().write(HAPROXY_CONFIG, good.into()).unwrap();
    assert!(machine.balancer(at(9)).unwrap().frontends.is_empty(), "installed is not active");
    machine.reload_haproxy().unwrap();
    assert_eq!(machine.balancer(at(9)).unwrap().frontends.len(), 1);
    machine.files_mut().write(HAPROXY_CONFIG, b"nonsense\n".to_vec()).unwrap();
    assert!(machine.reload_haproxy().is_err());
    assert_eq!((machine.reloads(), machine.balancer(at(9)).unwrap().frontends.len()), (1, 1));
}

#[test]
fn a_machine_survives_the_world_s_file() {
    let mut machine = booted(Bootstrap::Haproxy.text());
    machine.settle(at(9));
    let text = serde_json::to_string(&machine).unwrap();
    assert_eq!(serde_json::from_str::<Machine>(&text).unwrap(), machine);
}
