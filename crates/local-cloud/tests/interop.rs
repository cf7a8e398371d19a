//! The state in buckets of engines that are not ours: whoever honours conditional writes holds all that the log promises,
//! whoever does not is found out. `tests/interop/run.sh` starts the engines and runs this with the feature `interop`.

#![expect(clippy::unwrap_used, reason = "an engine that cannot be reached has failed")]

#[path = "conformance/store.rs"]
mod store;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use seachange_core::address::Address;
use seachange_core::clock::Clock;
use seachange_core::event::{Event, Listener};
use seachange_core::secret::Secret;
use seachange_core::state::{Resource, State};
use seachange_digitalocean::space::{Credentials, Space, SpaceConfig};
use seachange_engine::context::{Caller, Ids, Stop};
use seachange_engine::store::lease::Terms;
use seachange_engine::store::probe::{ProbeError, ROUNDS, probe};
use seachange_engine::store::{Log, LogError, Owner};

/// The bucket that the engines are started with.
const BUCKET: &str = "interop";

struct Here(AtomicU64);

impl Clock for Here {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl Ids for Here {
    fn next(&self) -> String {
        format!("{}-{}", std::process::id(), self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Listener for Here {
    fn event(&self, _: &Event) {}
}

impl Here {
    fn caller(&self) -> Caller<'_> {
        let (by, stop) = ("interop".to_owned(), Stop::new());
        Caller { clock: self, ids: self, listener: self, by, stop }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "which engines run is the script's word, not a user's"
)]
fn engine(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run tests/interop/run.sh"))
}

/// A bucket's corner of its own, on the engine whose address a variable has.
fn space(variable: &str, prefix: &str) -> Arc<Space> {
    let config = SpaceConfig {
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(engine(variable)),
        prefix: format!("{prefix}-{}", std::process::id()),
        path_style: true,
    };
    let credentials = Credentials { id: "interop".to_owned(), key: Secret::new("interop-key") };
    Arc::new(Space::connect(&config, credentials).unwrap())
}

fn moto(prefix: &str) -> Arc<Space> {
    space("SEACHANGE_INTEROP_MOTO", prefix)
}

fn owner(name: &str) -> Owner {
    Owner { by: name.to_owned(), operation: "interop".to_owned(), process: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_is_a_store() {
    store::suite(moto("store")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_wins_every_race_once() {
    let here = Here(AtomicU64::new(0));
    for _ in 0..10 {
        probe(&*moto("probe"), ROUNDS, &here).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_moto_rivals_take_turns_and_lose_nothing() {
    let rivals = (0..6).map(|rival| {
        tokio::spawn(async move {
            let here = Here(AtomicU64::new(rival * 1_000_000));
            let log = Log::new(moto("turns"), "webgui");
            let mut written = Vec::new();
            for round in 0..3 {
                let caller = here.caller();
                let patience = Duration::from_secs(120);
                let lease = log
                    .acquire_within(caller.clone(), owner(&format!("rival {rival}")), patience)
                    .await
                    .unwrap();
                let head = log.head().await.unwrap();
                let mut state = head.unwrap_or_else(|| State::empty("interop", "webgui"));
                let mark = Address::Domain(format!("{rival}-{round}.example"));
                state.resources.insert(mark.clone(), Resource::Domain { ours: true });
                log.push(caller, &lease, state).await.unwrap();
                lease.release().await.unwrap();
                written.push(mark);
            }
            written
        })
    });
    let mut written = BTreeSet::new();
    for rival in rivals.collect::<Vec<_>>() {
        written.extend(rival.await.unwrap());
    }
    let head = Log::new(moto("turns"), "webgui").head().await.unwrap().unwrap();
    assert_eq!(written.len(), 18);
    assert_eq!((head.serial, head.resources.keys().cloned().collect()), (18, written));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_moto_a_holder_without_a_beat_is_taken_over_and_fenced_off() {
    let here = Here(AtomicU64::new(0));
    let ms = Duration::from_millis;
    let terms = Terms { lease: ms(1500), beat: ms(200), margin: ms(500), watch: ms(100) };
    let log = Log::new(moto("fence"), "webgui").on_terms(terms);
    let robbed = log.acquire(here.caller(), owner("robbed")).await.unwrap();
    let state = State::empty("interop", "webgui");
    let first = log.push(here.caller(), &robbed, state).await.unwrap();

    // Its beat stops as if its machine did.
    let other = Log::new(moto("fence"), "webgui").on_terms(Terms { beat: ms(60_000), ..terms });
    robbed.release().await.unwrap();
    let still = other.acquire(here.caller(), owner("still")).await.unwrap();
    let taken = log.acquire_within(here.caller(), owner("next"), ms(5000)).await.unwrap();
    assert_eq!(taken.holding().epoch(), still.holding().epoch() + 1);
    let second = log.push(here.caller(), &taken, first.clone()).await.unwrap();
    assert_eq!(second.serial, first.serial + 1);
    let late = other.push(here.caller(), &still, first).await.unwrap_err();
    assert!(matches!(late, LogError::Unfit { .. } | LogError::Lost { .. }), "{late}");
    assert_eq!(log.head().await.unwrap().unwrap(), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3s_fs_is_refused_because_its_races_have_many_winners() {
    let here = Here(AtomicU64::new(0));
    let store = space("SEACHANGE_INTEROP_S3S", "probe");
    // It looks first and writes then: a probe of it may be lucky, but not often.
    let mut found = Vec::new();
    for _ in 0..10 {
        match probe(&*store, ROUNDS, &here).await {
            Err(error @ ProbeError::ManyWinners { .. }) => found.push(error.to_string()),
            Err(ProbeError::WrongObject { .. }) | Ok(()) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(found.len() >= 8, "{} of ten probes of {ROUNDS} races each found it", found.len());
    assert!(found[0].contains(BUCKET), "{}", found[0]);
}
