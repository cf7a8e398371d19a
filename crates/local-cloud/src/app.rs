//! The demo app: what it does from its start on, what it answers, and what it writes.
//!
//! Pure, so that a socket and a test on a virtual clock get the same app. A process is a function of its age; nothing
//! here waits or remembers.

use std::time::Duration;

use crate::images::Behaviour;

/// The header by which the app tells its version.
pub const VERSION_HEADER: &str = "x-app-version";
/// How long a crashing app lives.
pub const CRASH_AFTER: Duration = Duration::from_millis(300);
/// The code a crashing app exits with.
pub const CRASH_CODE: i64 = 1;

/// What a process does at some age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It runs and does not listen yet.
    Starting {
        /// The age at which that changes.
        until: Duration,
    },
    /// It listens.
    Listening,
    /// It has exited by itself.
    Exited {
        /// Its exit code.
        code: i64,
        /// The age at which it did.
        at: Duration,
    },
}

/// What a process with this behaviour does at this age.
pub fn process(behaviour: Behaviour, age: Duration) -> Process {
    match behaviour {
        Behaviour::Serves | Behaviour::Unhealthy => Process::Listening,
        Behaviour::ServesAfter(boot) if age < boot => Process::Starting { until: boot },
        Behaviour::ServesAfter(_) => Process::Listening,
        Behaviour::Crashes if age < CRASH_AFTER => Process::Starting { until: CRASH_AFTER },
        Behaviour::Crashes => Process::Exited { code: CRASH_CODE, at: CRASH_AFTER },
    }
}

/// What a process with this behaviour has written by this age.
pub fn log_lines(version: &str, behaviour: Behaviour, port: u16, age: Duration) -> Vec<String> {
    let listening = format!("listening on 0.0.0.0:{port}");
    let mut lines = vec![format!("demo app {version} starting")];
    match (behaviour, process(behaviour, age)) {
        (Behaviour::Unhealthy, _) => lines.extend([
            listening,
            "error: the database at db.internal:5432 refuses the connection".to_owned(),
            "answering 503 until it is back".to_owned(),
        ]),
        (Behaviour::Crashes, Process::Exited { .. }) => lines.extend([
            "error: the setting DATABASE_URL is missing".to_owned(),
            format!("fatal: cannot start, exiting with code {CRASH_CODE}"),
        ]),
        (_, Process::Listening) => lines.push(listening),
        (_, Process::Starting { .. } | Process::Exited { .. }) => {}
    }
    lines
}

/// What is asked of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET or HEAD.
    Read,
    /// POST or PUT, with so many bytes.
    Upload(u64),
    /// Anything else.
    Other,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Body; ends with a line feed.
    pub body: String,
    /// How long it takes.
    pub after: Duration,
}

/// The listening app's answer. `target` is path and query.
pub fn reply(version: &str, behaviour: Behaviour, verb: Verb, target: &str) -> Reply {
    let at_once = |status, body| Reply { status, body, after: Duration::ZERO };
    if behaviour == Behaviour::Unhealthy {
        return at_once(503, format!("{version}: the database is away\n"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match (verb, path) {
        (Verb::Read, "/" | "/health") => at_once(200, format!("{version}\n")),
        (Verb::Read, "/slow") => {
            let millis = query.split('&').find_map(|pair| pair.strip_prefix("ms=")?.parse().ok());
            let after = Duration::from_millis(millis.unwrap_or(1000));
            Reply { status: 200, body: format!("{version} after {after:?}\n"), after }
        }
        (Verb::Upload(bytes), _) => at_once(200, format!("{version} took {bytes} bytes\n")),
        (Verb::Read, _) => at_once(404, format!("{version} has nothing at {path}\n")),
        (Verb::Other, _) => at_once(405, format!("{version} does not do that\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Behaviour = Behaviour::ServesAfter(Duration::from_secs(3));

    #[test]
    fn a_process_is_a_function_of_its_age() {
        let at = |behaviour, millis| process(behaviour, Duration::from_millis(millis));
        assert_eq!(at(Behaviour::Serves, 0), Process::Listening);
        assert_eq!(at(SLOW, 2_999), Process::Starting { until: Duration::from_secs(3) });
        assert_eq!(at(SLOW, 3_000), Process::Listening);
        assert_eq!(at(Behaviour::Crashes, 299), Process::Starting { until: CRASH_AFTER });
        assert_eq!(at(Behaviour::Crashes, 300), Process::Exited { code: 1, at: CRASH_AFTER });
    }

    #[test]
    fn the_log_tells_why_it_crashed_only_after_it_did() {
        let lines = |millis| {
            log_lines("crash", Behaviour::Crashes, 8080, Duration::from_millis(millis)).join("\n")
        };
        assert!(!lines(100).contains("fatal"));
        assert!(lines(400).contains("DATABASE_URL") && lines(400).contains("fatal"));
    }

    #[test]
    fn it_answers_by_path_and_verb() {
        let ask = |verb, target| reply("1.0", Behaviour::Serves, verb, target);
        assert_eq!(ask(Verb::Read, "/?x=1").body, "1.0\n");
        assert_eq!(ask(Verb::Read, "/slow?a=b&ms=20").after, Duration::from_millis(20));
        assert_eq!(ask(Verb::Upload(7), "/upload").body, "1.0 took 7 bytes\n");
        assert_eq!(ask(Verb::Read, "/none").status, 404);
        assert_eq!(ask(Verb::Other, "/").status, 405);
        assert_eq!(reply("unhealthy", Behaviour::Unhealthy, Verb::Read, "/").status, 503);
    }
}
