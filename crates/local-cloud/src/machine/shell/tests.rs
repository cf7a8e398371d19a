//! Words, joints, exit codes, and the commands of a release.

use super::*;
use crate::machine::tests::{at, booted};
use seachange_core::bootstrap::Bootstrap;

fn balancer() -> Machine {
    let mut machine = booted(Bootstrap::Haproxy.text());
    machine.settle(at(9));
    machine
}

/// Runs the line at the end of the boot; answers status, output and errors.
fn sh(machine: &mut Machine, line: &str) -> (u32, String, String) {
    let output = run(machine, at(9), line);
    (output.status, String::from_utf8(output.stdout).unwrap(), output.stderr)
}

#[test]
fn words_are_split_as_a_shell_does() {
    let line = r#"a 'b c'  "d \"e" f\ g ''  'it'\''s' x='1 2' # no more"#;
    let words = split(line).unwrap().pop().unwrap().1;
    assert_eq!(words, ["a", "b c", "d \"e", "f g", "", "it's", "x=1 2"]);
    for bad in ["a 'b", "a \"b", "a $HOME", "a `id`", "a > b", "a | b", "a *", "&& a", "(a)", "a &"]
    {
        assert!(split(bad).is_err(), "{bad}");
    }
}

#[test]
fn joints_look_at_the_exit_status() {
    let machine = &mut balancer();
    assert_eq!(sh(machine, "false && echo a; echo b").1, "b\n");
    assert_eq!(sh(machine, "true && echo a || echo b").1, "a\n");
    assert_eq!(sh(machine, "false || echo b && echo c").1, "b\nc\n");
    assert_eq!(sh(machine, "echo a; false").0, 1);
    assert_eq!(sh(machine, "").0, 0);
}

#[test]
fn an_unknown_program_is_127() {
    let (status, _, errors) = sh(&mut balancer(), "terraform apply");
    assert_eq!((status, errors.as_str()), (127, "bash: terraform: command not found\n"));
    // Not installed on a worker.
    let mut worker = booted(Bootstrap::Docker.text());
    assert_eq!(sh(&mut worker, "haproxy -c -f /etc/x").0, 127);
}

#[test]
fn cloud_init_tells_its_stage() {
    let mut machine = booted(None);
    let running = run(&mut machine, at(3), "cloud-init status");
    assert_eq!((running.status, &running.stdout[..]), (0, &b"status: running\n"[..]));
    assert_eq!(sh(&mut machine, "cloud-init status").1, "status: done\n");
    let mut broken = booted(Some("packages:\n - nothing\n"));
    let (status, text, _) = sh(&mut broken, "cloud-init status --long");
    assert_eq!(status, 1);
    assert!(text.starts_with("status: error\n") && text.contains("nothing"), "{text}");
}

#[test]
fn files_are_tested_moved_summed_and_removed() {
    let machine = &mut balancer();
    machine.files_mut().write("/tmp/a", b"abc".to_vec()).unwrap();
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  /tmp/a\n";
    assert_eq!(sh(machine, "sha256sum /tmp/a").1, sum);
    assert_eq!(sh(machine, "mv -f /tmp/a /etc/haproxy && cat /etc/haproxy/a").1, "abc");
    assert_eq!(sh(machine, "test -e /tmp/a").0, 1);
    assert_eq!(sh(machine, "cp /etc/haproxy/a /tmp/b && ln /tmp/b /tmp/c && test -e /tmp/c").0, 0);
    assert_eq!(sh(machine, "ln /tmp/b /tmp/c").0, 1);
    let (status, _, errors) = sh(machine, "mv /tmp/x /tmp/y");
    assert_eq!(
        (status, errors.as_str()),
        (1, "mv: cannot stat '/tmp/x': No such file or directory\n")
    );
    assert_eq!(sh(machine, "rm -f /tmp/b /tmp/none").0, 0);
    assert_eq!(sh(machine, "rm /tmp/b").0, 1);
    assert_eq!(sh(machine, "cat /tmp/b").2, "cat: /tmp/b: No such file or directory\n");
    assert_eq!(sh(machine, "chmod 600 /tmp/c").0, 0);
    assert_eq!(machine.files().get("/tmp/c").unwrap().mode, 0o600);
}

#[test]
fn haproxy_checks_a_file_and_a_reload_takes_it() {
    let machine = &mut balancer();
    machine.files_mut().write("/tmp/bad", b"frontend f\n mode http\n bindd\n".to_vec()).unwrap();
    let (status, _, errors) = sh(machine, "haproxy -c -f /tmp/bad");
    assert_eq!(status, 1);
    assert!(errors.contains("unknown keyword 'bindd'"), "{errors}");
    machine
        .files_mut()
        .write("/tmp/good", b"frontend f\n mode http\n bind :80\n".to_vec())
        .unwrap();
    let line = "haproxy -c -f /tmp/good && mv -f /tmp/good /etc/haproxy/haproxy.cfg && systemctl reload haproxy";
    assert_eq!(sh(machine, line).0, 0);
    assert_eq!(machine.balancer(at(9)).unwrap().frontends.len(), 1);
    assert_eq!(sh(machine, "systemctl is-active haproxy"), (0, "active\n".into(), String::new()));
    assert_eq!(sh(machine, "systemctl is-active docker").0, 3);
    sh(machine, "mv /tmp/bad /etc/haproxy/haproxy.cfg");
    let (status, _, errors) = sh(machine, "systemctl reload haproxy");
    assert_eq!(status, 1);
    assert!(errors.starts_with("Job for haproxy.service failed."));
}
