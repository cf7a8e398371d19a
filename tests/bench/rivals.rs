//! Processes that all want one state at the same time, on a machine that stops them for longer than their lease, with a
//! person who takes locks away: how many acknowledged commits are there afterwards?
//!
//! Once our way, once the way of a state that is one overwritten object with a lock beside it that is broken after a
//! time-out, which is how Terraform's S3 backend is used (with its lock made by a conditional create).
//!
//! Usage: cargo run --release -p seachange-local-cloud --example rivals [-- SECONDS [PROCESSES]]
//! Ends with 1 if our way lost or forked anything.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use seachange_core::address::Address;
use seachange_core::clock::Clock;
use seachange_core::event::{Event, Listener};
use seachange_core::secret::Secret;
use seachange_core::state::{Resource, State, file};
use seachange_core::store::{Created, StateStore as _};
use seachange_digitalocean::space::{Credentials, Space, SpaceConfig};
use seachange_engine::context::{Caller, Ids, Stop};
use seachange_engine::store::lease::Terms;
use seachange_engine::store::{Log, LogError, Owner};
use seachange_local_cloud::serve::{ServeConfig, serve};

/// A lease that ends within seconds, so that a minute holds many of them.
const TERMS: Terms = Terms {
    lease: Duration::from_millis(3000),
    beat: Duration::from_millis(400),
    margin: Duration::from_millis(1200),
    watch: Duration::from_millis(150),
};
/// Longer than the lease.
const STALL: Duration = Duration::from_millis(4500);
/// Commits of one holding.
const COMMITS: u32 = 5;
const STACK: &str = "rivals";

/// Clock, names and a listener of one process.
struct Here {
    process: u32,
    count: AtomicU64,
}

impl Clock for Here {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl Ids for Here {
    fn next(&self) -> String {
        format!("{}-{}", self.process, self.count.fetch_add(1, Ordering::Relaxed))
    }
}

impl Listener for Here {
    fn event(&self, _: &Event) {}
}

impl Here {
    fn new(process: u32) -> Self {
        Self { process, count: AtomicU64::new(0) }
    }

    fn caller(&self) -> Caller<'_> {
        let (by, stop) = (format!("process {}", self.process), Stop::new());
        Caller { clock: self, ids: self, listener: self, by, stop }
    }

    /// Nobody looks for the process: beats are all there is, as between machines.
    fn owner(&self) -> Owner {
        let by = format!("process {}", self.process);
        Owner { by, operation: "rivals".to_owned(), process: None }
    }

    /// What one commit adds to the state.
    fn mark(&self) -> Address {
        Address::Domain(format!("{}.example", self.next()))
    }
}

/// What one process has to say.
#[derive(Debug, Default)]
struct Account {
    /// Acknowledged.
    written: BTreeSet<String>,
    /// Told that they did not get in.
    refused: u64,
    /// Commits whose outcome the process was not told.
    unclear: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [way, process, seconds, endpoint, id] = &arguments[..] {
        // The key comes on stdin: an argument list is for everybody to read.
        let mut key = String::new();
        std::io::stdin().read_to_string(&mut key).unwrap();
        let space = space(endpoint, way, id, key.trim());
        let (here, until) = (Here::new(process.parse().unwrap()), until(seconds));
        match way.as_str() {
            "log" => compete(&here, space, until).await,
            _ => compete_by_overwriting(&here, &space, until).await,
        }
        return ExitCode::SUCCESS;
    }
    let seconds = arguments.first().map_or("60", String::as_str);
    let processes = arguments.get(1).map_or(8, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(ServeConfig::in_folder(folder.path().to_owned())).await.unwrap();
    let (endpoint, id) = (serving.spaces.endpoint.clone(), serving.spaces.id.clone());
    let key = serving.spaces.key.expose().to_owned();
    let mut lost_of_ours = 0;
    println!(
        "{processes} processes, {seconds} s, each stopped for {STALL:?} now and then (lease {:?}), locks taken away",
        TERMS.lease
    );
    println!(
        "{:<22} {:>12} {:>6} {:>6} {:>8} {:>8}",
        "way", "acknowledged", "lost", "forks", "refused", "unclear"
    );
    for way in ["log", "overwritten object"] {
        let space = space(&endpoint, way, &id, &key);
        let children = begin(way, processes, seconds, &endpoint, &id, &key);
        torment(&children, &space, way, until(seconds)).await;
        let accounts: Vec<Account> = children.into_iter().map(account).collect();
        let written: BTreeSet<&String> = accounts.iter().flat_map(|one| &one.written).collect();
        let (there, forks) = match way {
            "log" => audit(&space).await,
            _ => (read(&space).await.resources.keys().map(ToString::to_string).collect(), 0),
        };
        let lost = written.iter().filter(|mark| !there.contains(**mark)).count();
        let sum = |of: fn(&Account) -> u64| accounts.iter().map(of).sum::<u64>();
        let (refused, unclear) = (sum(|one| one.refused), sum(|one| one.unclear));
        println!("{way:<22} {:>12} {lost:>6} {forks:>6} {refused:>8} {unclear:>8}", written.len());
        if way == "log" {
            lost_of_ours = lost + forks;
            assert!(!written.is_empty() && refused > 0, "nobody competed");
        }
    }
    serving.shutdown().await;
    if lost_of_ours == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn until(seconds: &str) -> Instant {
    Instant::now() + Duration::from_secs(seconds.parse().unwrap())
}

fn space(endpoint: &str, way: &str, id: &str, key: &str) -> Arc<Space> {
    let config = SpaceConfig {
        bucket: "rivals".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        prefix: way.replace(' ', "-"),
        path_style: true,
    };
    let credentials = Credentials { id: id.to_owned(), key: Secret::new(key) };
    Arc::new(Space::connect(&config, credentials).unwrap())
}

fn begin(
    way: &str,
    processes: u32,
    seconds: &str,
    endpoint: &str,
    id: &str,
    key: &str,
) -> Vec<Child> {
    let one = |process: u32| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([way, &process.to_string(), seconds, endpoint, id]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(key.as_bytes()).unwrap();
        child
    };
    (1..=processes).map(one).collect()
}

/// Stops one process after the other for longer than its lease, and takes the lock away in between.
async fn torment(children: &[Child], space: &Arc<Space>, way: &str, until: Instant) {
    let log = Log::new(Arc::clone(space) as _, STACK);
    let mut turn = 0;
    while Instant::now() + STALL * 2 < until {
        let (one, other) = (turn % children.len(), (turn * 3 + 1) % children.len());
        for stopped in [one, other] {
            signal(&children[stopped], "STOP");
        }
        tokio::time::sleep(STALL).await;
        for stopped in [one, other] {
            signal(&children[stopped], "CONT");
        }
        if way == "log"
            && turn % 2 == 1
            && let Ok(Some(holder)) = log.holder().await
        {
            log.unlock(holder.epoch).await.unwrap();
        }
        turn += 1;
    }
}

fn signal(child: &Child, name: &str) {
    // A shell has it built in; the program is not on every machine.
    let kill = format!("kill -{name} {}", child.id());
    let sent = Command::new("sh").args(["-c", &kill]).status();
    assert!(sent.unwrap().success(), "no signal reaches process {}", child.id());
}

/// What the process wrote to stdout, a word and a value a line.
fn account(child: Child) -> Account {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "a process ended with {}", output.status);
    let mut account = Account::default();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        match line.split_once(' ').unwrap() {
            ("wrote", mark) => drop(account.written.insert(mark.to_owned())),
            ("refused", _) => account.refused += 1,
            _ => account.unclear += 1,
        }
    }
    account
}

/// Our way.
async fn compete(here: &Here, space: Arc<Space>, until: Instant) {
    let log = Log::new(space, STACK).on_terms(TERMS);
    while Instant::now() < until {
        let wait = until.saturating_duration_since(Instant::now()).min(TERMS.lease);
        let lease = match log.acquire_within(here.caller(), here.owner(), wait).await {
            Ok(lease) => lease,
            Err(error) => {
                println!("refused {error}");
                continue;
            }
        };
        for _ in 0..COMMITS {
            let Ok(head) = log.head().await else { break };
            let mut state = head.unwrap_or_else(|| State::empty("rivals", STACK));
            let mark = here.mark();
            state.resources.insert(mark.clone(), Resource::Domain { ours: true });
            tokio::time::sleep(Duration::from_millis(20)).await;
            // A run asks this before each change.
            let pushed = match lease.holding().must_hold() {
                Ok(()) => log.push(here.caller(), &lease, state).await,
                Err(error) => Err(error),
            };
            match pushed {
                Ok(_) => println!("wrote {mark}"),
                Err(error @ LogError::Store(_)) => {
                    println!("unclear {error}");
                    break;
                }
                Err(error) => {
                    println!("refused {error}");
                    break;
                }
            }
        }
        if let Err(error) = lease.release().await {
            println!("unclear {error}");
        }
    }
}

/// Every mark that the newest state has, and how many serials there are twice or not at all.
async fn audit(space: &Arc<Space>) -> (BTreeSet<String>, usize) {
    let log = Log::new(Arc::clone(space) as _, STACK);
    let mut serials: BTreeMap<u64, usize> = BTreeMap::new();
    let commits = log.history(usize::MAX).await.unwrap();
    for commit in &commits {
        *serials.entry(commit.state.serial).or_default() += 1;
    }
    let newest = commits.first().unwrap();
    let twice = serials.values().filter(|count| **count > 1).count();
    let gaps = (1..=newest.state.serial).filter(|serial| !serials.contains_key(serial)).count();
    // Each has all that the one before it had: the history is a line.
    let torn = commits.windows(2).filter(|pair| {
        let has = |mark: &Address| pair[0].state.resources.contains_key(mark);
        !pair[1].state.resources.keys().all(has)
    });
    let there = newest.state.resources.keys().map(ToString::to_string).collect();
    (there, twice + gaps + torn.count())
}

/// The other way: one object, and a lock beside it that is broken when it is older than the lease.
async fn compete_by_overwriting(here: &Here, space: &Space, until: Instant) {
    let lock = format!("{STACK}/lock");
    while Instant::now() < until {
        let stamp = Timestamp::now().as_millisecond();
        match space.create(&lock, stamp.to_string().as_bytes()).await {
            Ok(Created::Yes) => {}
            Ok(Created::Taken) => {
                let there = space.get(&lock).await.unwrap_or_default().unwrap_or_default();
                let since = String::from_utf8_lossy(&there).parse::<i64>().unwrap_or(stamp);
                let age = Duration::from_millis((stamp - since).unsigned_abs());
                if age > TERMS.lease {
                    space.delete(&lock).await.unwrap();
                } else {
                    println!("refused locked for {age:?}");
                }
                tokio::time::sleep(TERMS.watch).await;
                continue;
            }
            Err(error) => {
                println!("unclear {error}");
                continue;
            }
        }
        let mut state = read(space).await;
        for _ in 0..COMMITS {
            let mark = here.mark();
            state.resources.insert(mark.clone(), Resource::Domain { ours: true });
            state.serial += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            match space.put(&object(), &file::write(&state)).await {
                Ok(()) => println!("wrote {mark}"),
                Err(error) => println!("unclear {error}"),
            }
        }
        space.delete(&lock).await.unwrap();
    }
}

async fn read(space: &Space) -> State {
    match space.get(&object()).await.unwrap() {
        Some(bytes) => file::read(&bytes).unwrap(),
        None => State::empty("rivals", STACK),
    }
}

fn object() -> String {
    format!("{STACK}/state")
}
