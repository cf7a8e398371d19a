//! HAProxy's admin socket, as far as a detour needs it: where servers are, whether they are in use, and who asks.
//!
//! What is set here lasts until the next reload, as there.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Usage;
use crate::machine::Machine;

/// Where it listens.
pub const SOCKET: &str = "/run/haproxy/admin.sock";
/// Columns of `show stat` that are read, and those before them; the real one has many more.
const COLUMNS: &str = "pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,addr,";

/// Answers one line of commands. `in_flight` tells of a back end's server how many requests it has.
pub fn answer(
    machine: &mut Machine,
    now: Timestamp,
    line: &str,
    in_flight: &dyn Fn(&str, &str) -> u64,
) -> String {
    let mut said = String::new();
    for command in line.trim_end().split(';') {
        let words: Vec<&str> = command.split_whitespace().collect();
        said.push_str(&one(machine, now, &words, in_flight));
        said.push('\n');
    }
    said
}

fn one(
    machine: &mut Machine,
    now: Timestamp,
    words: &[&str],
    in_flight: &dyn Fn(&str, &str) -> u64,
) -> String {
    match words {
        ["show", "info"] => {
            format!(
                "Name: HAProxy\nVersion: 2.8.5-1ubuntu3.3\nPid: {}\n",
                machine.haproxy_process()
            )
        }
        ["show", "stat"] => statistics(machine, now, in_flight),
        ["set", "server", name, "addr", address, "port", port] => {
            let (Ok(address), Ok(port)) = (address.parse(), port.parse()) else {
                return format!("Invalid addr family or port '{address}' '{port}'.\n");
            };
            let there = machine.set_server(now, name, |server| {
                let same = (server.address, server.port) == (address, port);
                (server.address, server.port) = (address, port);
                same
            });
            match there {
                Some(true) => "no need to change the addr, no need to change the port by 'stats socket command'\n".to_owned(),
                Some(false) => format!("IP changed to '{address}', port changed to '{port}' by 'stats socket command'\n"),
                None => "No such server.\n".to_owned(),
            }
        }
        ["set", "server", name, "state", state] => {
            let usage = match *state {
                "ready" => Usage::Ready,
                "drain" => Usage::Drain,
                "maint" => Usage::Maint,
                _ => {
                    return "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n"
                        .to_owned();
                }
            };
            match machine.set_server(now, name, |server| server.usage = usage) {
                Some(()) => String::new(),
                None => "No such server.\n".to_owned(),
            }
        }
        _ => format!(
            "Unknown command: '{}'. Please enter one of the following commands only:\n",
            words.join(" ")
        ),
    }
}

fn statistics(machine: &Machine, now: Timestamp, in_flight: &dyn Fn(&str, &str) -> u64) -> String {
    let mut table = format!("# {COLUMNS}\n");
    for (backend, servers) in machine.balancer(now).unwrap_or_default().backends {
        for server in servers.servers {
            let sessions = in_flight(&backend, &server.name);
            let status = match (server.usage, server.check) {
                (Usage::Ready, None) => "no check",
                (Usage::Ready, Some(_)) => "UP",
                (Usage::Drain, _) => "DRAIN",
                (Usage::Maint, _) => "MAINT",
            };
            let _: std::fmt::Result = writeln!(
                table,
                "{backend},{},0,0,{sessions},0,,0,0,0,,0,,0,0,0,0,{status},{}:{},",
                server.name, server.address, server.port
            );
        }
    }
    table
}
