//! Temporary stand-in for the world, until it is there.
#![allow(missing_docs)]
use crate::machine::Machine;
use jiff::Timestamp;
use seachange_core::cloud::DropletId;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

pub struct World {
    began: tokio::time::Instant,
    pub machines: Mutex<BTreeMap<Ipv4Addr, Machine>>,
    pub reserved: Mutex<BTreeMap<Ipv4Addr, Option<Ipv4Addr>>>,
    pub keys: Mutex<Vec<String>>,
    changes: tokio::sync::watch::Sender<u64>,
}
pub struct Topology {
    pub machines: Vec<(DropletId, Ipv4Addr)>,
    pub reserved: Vec<(Ipv4Addr, Option<Ipv4Addr>)>,
}
impl World {
    pub fn stub() -> Arc<Self> {
        Arc::new(Self {
            began: tokio::time::Instant::now(),
            machines: Mutex::default(),
            reserved: Mutex::default(),
            keys: Mutex::default(),
            changes: tokio::sync::watch::channel(0).0,
        })
    }
    pub fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.began.elapsed()
    }
    pub fn bump(&self) {
        self.changes.send_modify(|n| *n += 1);
    }
    pub fn with_machine<T>(
        &self,
        address: Ipv4Addr,
        f: impl FnOnce(&mut Machine, Timestamp) -> T,
    ) -> Option<T> {
        let now = self.now();
        let mut machines = self.machines.lock().unwrap();
        let m = machines.get_mut(&address)?;
        let before = m.revision();
        let t = f(m, now);
        let changed = m.revision() != before;
        drop(machines);
        if changed {
            self.bump();
        }
        Some(t)
    }
    pub fn reserved_ip_target(&self, ip: Ipv4Addr) -> Option<Ipv4Addr> {
        *self.reserved.lock().unwrap().get(&ip)?
    }
    pub fn topology(&self) -> Topology {
        Topology {
            machines: self.machines.lock().unwrap().iter().map(|(a, m)| (m.id(), *a)).collect(),
            reserved: self.reserved.lock().unwrap().iter().map(|(a, b)| (*a, *b)).collect(),
        }
    }
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }
    pub fn authorized_keys(&self, _address: Ipv4Addr) -> Vec<String> {
        self.keys.lock().unwrap().clone()
    }
}
