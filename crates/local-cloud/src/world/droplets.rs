//! Droplets: asynchronous boots and deletes, one event at a time.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use seachange_core::cloud::{DropletCreate, DropletId};
use serde::{Deserialize, Serialize};

use super::refusal::{Answer, Refusal};
use super::{Due, Inner, Timings, World, catalogue};
use crate::machine::Machine;

/// A droplet's place in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Being created.
    New,
    /// Booted.
    Active,
    /// Powered off.
    Off,
}

/// A droplet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Droplet {
    /// Its id.
    pub id: DropletId,
    /// Its name; not unique.
    pub name: String,
    /// Where it is in its life.
    pub status: Status,
    /// Size slug.
    pub size: String,
    /// Region slug.
    pub region: String,
    /// Base image slug.
    pub image: String,
    /// Tags, in the account's spelling.
    pub tags: Vec<String>,
    /// Public keys put in at creation.
    pub authorized_keys: Vec<String>,
    /// cloud-init text; never given back.
    pub user_data: Option<String>,
    /// Public address, once it has one.
    pub address: Option<Ipv4Addr>,
    /// Private address.
    pub private: Ipv4Addr,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its delete was accepted.
    pub leaving: bool,
    /// An event holds it; filled in when it is looked at.
    #[serde(skip)]
    pub locked: bool,
    place: u32,
}

impl Droplet {
    /// Its public address, if anything behind it can answer: a droplet that is off answers nobody.
    pub(crate) fn reachable(&self) -> Option<Ipv4Addr> {
        self.address.filter(|_| self.status == Status::Active)
    }
}

/// An asynchronous action.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Action {
    /// Its id.
    pub id: u64,
    /// What it does: `create`, `assign_ip` …
    pub kind: String,
    /// `completed`, `in-progress` or `errored`.
    pub status: Progress,
    /// What it is about.
    pub on: Subject,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Region slug of what it is about.
    pub region: String,
    pub(crate) moves_to: Option<DropletId>,
    pub(crate) fails: bool,
}

/// How far an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Under way.
    #[serde(rename = "in-progress")]
    InProgress,
    /// Done.
    #[serde(rename = "completed")]
    Completed,
    /// Failed.
    #[serde(rename = "errored")]
    Errored,
}

/// What an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// A droplet.
    Droplet(DropletId),
    /// A reserved IP.
    Address(Ipv4Addr),
}

/// Which droplets are asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// With this tag.
    pub tag: Option<String>,
    /// With this name, compared without case.
    pub name: Option<String>,
}

impl World {
    /// Creates droplets; answers them with their actions.
    pub(crate) fn create_droplets(&self, create: &DropletCreate) -> Answer<Vec<(Droplet, u64)>> {
        self.act(|inner, now| inner.create_droplets(create, now))
    }

    /// Droplets by id, those too new for a list left out.
    pub(crate) fn droplets(&self, filter: &Filter) -> Vec<Droplet> {
        self.act(|inner, now| {
            let lag = inner.config.timings.list_lag;
            let fits = |droplet: &&Droplet| {
                let tagged =
                    |tag: &String| droplet.tags.iter().any(|found| found.eq_ignore_ascii_case(tag));
                let named = |name: &String| droplet.name.eq_ignore_ascii_case(name);
                droplet.created_at + lag <= now
                    && filter.tag.as_ref().is_none_or(tagged)
                    && filter.name.as_ref().is_none_or(named)
            };
            let found = inner.resources.droplets.values().filter(fits);
            found.map(|droplet| inner.seen(droplet)).collect()
        })
    }

    /// One droplet, and whether an event holds it.
    pub(crate) fn droplet(&self, id: DropletId) -> Answer<Droplet> {
        self.act(|inner, now| {
            let lag = inner.config.timings.read_lag;
            let found =
                inner.resources.droplets.get(&id).filter(|droplet| droplet.created_at + lag <= now);
            found.map(|droplet| inner.seen(droplet)).ok_or_else(Refusal::not_found)
        })
    }

    /// One droplet as it is now, however new: for what points to it.
    pub(crate) fn droplet_now(&self, id: DropletId) -> Option<Droplet> {
        self.act(|inner, _| inner.resources.droplets.get(&id).map(|droplet| inner.seen(droplet)))
    }

    /// Begins a droplet's end.
    pub(crate) fn delete_droplet(&self, id: DropletId) -> Answer<()> {
        self.act(|inner, _| {
            let droplet = inner.resources.droplets.get_mut(&id).ok_or_else(Refusal::not_found)?;
            if droplet.leaving {
                return Ok(());
            }
            if droplet.status == Status::New {
                return Err(Refusal::pending("Droplet"));
            }
            droplet.leaving = true;
            let delay = inner.config.timings.delete;
            inner.after(delay, Due::Vanish(id));
            inner.changed();
            Ok(())
        })
    }

    /// An action on a droplet, from `POST /v2/droplets/ID/actions`.
    pub(crate) fn act_on_droplet(
        &self,
        id: DropletId,
        kind: &str,
        name: Option<&str>,
    ) -> Answer<Action> {
        self.act(|inner, _| {
            if inner.busy(Subject::Droplet(id)) {
                return Err(Refusal::pending("Droplet"));
            }
            let droplet = inner.resources.droplets.get_mut(&id).ok_or_else(Refusal::not_found)?;
            match kind {
                "rename" => name
                    .ok_or_else(|| Refusal::unprocessable("Name can't be blank"))?
                    .clone_into(&mut droplet.name),
                "power_off" if droplet.status == Status::Off => {
                    return Err(Refusal::unprocessable("Droplet is already powered off."));
                }
                "power_off" | "shutdown" => droplet.status = Status::Off,
                "power_on" | "power_cycle" | "reboot" => droplet.status = Status::Active,
                _ => {
                    return Err(Refusal::unprocessable(format!(
                        "`{kind}` is not simulated by the local cloud"
                    )));
                }
            }
            Ok(inner.begin_action(kind, Subject::Droplet(id), None))
        })
    }

    /// One action.
    pub(crate) fn action(&self, id: u64) -> Answer<Action> {
        self.act(|inner, now| {
            let lag = inner.config.timings.read_lag;
            let found =
                inner.resources.actions.get(&id).filter(|action| action.started_at + lag <= now);
            found.cloned().ok_or_else(Refusal::not_found)
        })
    }

    /// All actions, newest first.
    pub(crate) fn actions(&self, on: Option<Subject>) -> Vec<Action> {
        self.act(|inner, _| {
            let fits = |action: &&Action| on.is_none_or(|on| action.on == on);
            inner.resources.actions.values().rev().filter(fits).cloned().collect()
        })
    }
}

impl Inner {
    fn create_droplets(
        &mut self,
        create: &DropletCreate,
        now: Timestamp,
    ) -> Answer<Vec<(Droplet, u64)>> {
        self.check_create(create)?;
        let authorized_keys = create
            .ssh_keys
            .iter()
            .map(|key| {
                self.public_key(key).ok_or_else(|| {
                    Refusal::unprocessable(format!(
                        "{key} are invalid key identifiers for Droplet creation."
                    ))
                })
            })
            .collect::<Answer<Vec<String>>>()?;
        let tags: Vec<String> =
            create.tags.iter().map(|tag| self.canonical_tag(tag)).collect::<Answer<_>>()?;
        let mut created = Vec::new();
        for name in &create.names {
            let id = DropletId(self.id());
            let place = self.free_place();
            let droplet = Droplet {
                id,
                name: name.clone(),
                status: Status::New,
                size: create.size.clone(),
                region: create.region.clone(),
                image: create.image.clone(),
                tags: tags.clone(),
                authorized_keys: authorized_keys.clone(),
                user_data: create.user_data.clone(),
                address: None,
                private: Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 10)) + place),
                created_at: now,
                leaving: false,
                locked: true,
                place,
            };
            self.resources.droplets.insert(id, droplet.clone());
            let delay = self.config.timings.boot;
            self.after(delay, Due::Activate(id));
            let action = self.begin_action("create", Subject::Droplet(id), None);
            created.push((droplet, action.id));
        }
        self.changed();
        Ok(created)
    }

    fn check_create(&self, create: &DropletCreate) -> Answer<()> {
        let refuse = |message: String| Err(Refusal::unprocessable(message));
        if create.names.is_empty() || create.names.len() > 10 {
            return refuse("You can create between 1 and 10 Droplets at once.".to_owned());
        }
        let letters = |name: &String| {
            !name.is_empty()
                && name.len() <= 255
                && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
        };
        if !create.names.iter().all(letters) {
            return refuse(
                "Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)".to_owned(),
            );
        }
        if create.user_data.as_ref().is_some_and(|data| data.len() > 65_536) {
            return refuse("User data is too long (maximum is 64 KiB).".to_owned());
        }
        if !catalogue::REGIONS.contains(&create.region.as_str()) {
            return refuse("Region is not available".to_owned());
        }
        let Some(size) = catalogue::size_by_slug(&create.size) else {
            return refuse("You specified an invalid size for Droplet creation.".to_owned());
        };
        if !size.regions.contains(&create.region.as_str()) {
            return refuse("Size is not available in this region.".to_owned());
        }
        let Some(image) = catalogue::image(&create.image) else {
            return refuse("You specified an invalid image for Droplet creation.".to_owned());
        };
        if image.min_disk_gb > size.disk_gb {
            return refuse("The image is too large for this size.".to_owned());
        }
        let limit = self.config.limits.droplets;
        if (self.resources.droplets.len() + create.names.len()) as u64 > limit {
            return refuse(
                "creating this/these droplet(s) will exceed your droplet limit".to_owned(),
            );
        }
        Ok(())
    }

    /// The lowest place in the block that no droplet has.
    fn free_place(&self) -> u32 {
        let mut taken: Vec<u32> =
            self.resources.droplets.values().map(|droplet| droplet.place).collect();
        taken.sort_unstable();
        (0..)
            .zip(taken.iter().copied().chain([u32::MAX]))
            .find(|(free, taken)| free != taken)
            .map_or(0, |(free, _)| free)
    }

    pub(super) fn activate(&mut self, id: DropletId, at: Timestamp) {
        let timings = self.config.timings.clone();
        let seed = self.config.seed;
        let Some(droplet) = self.resources.droplets.get_mut(&id) else { return };
        droplet.status = Status::Active;
        let machine =
            Machine::boot(id, droplet.user_data.as_deref(), at, &timings.first_boot, seed ^ id.0);
        self.resources.machines.insert(id, machine);
        self.resources.due.push((at + timings.address, Due::Address(id)));
    }

    pub(super) fn give_address(&mut self, id: DropletId) {
        let (a, b) = self.config.block;
        if let Some(droplet) = self.resources.droplets.get_mut(&id) {
            let base = u32::from(Ipv4Addr::new(127, a, b, 10));
            droplet.address = Some(Ipv4Addr::from(base + droplet.place));
        }
    }

    pub(super) fn vanish(&mut self, id: DropletId) {
        self.resources.droplets.remove(&id);
        self.resources.machines.remove(&id);
        for reserved in
            self.resources.reserved.values_mut().filter(|reserved| reserved.droplet == Some(id))
        {
            reserved.droplet = None;
        }
    }

    /// A droplet as it is seen from outside.
    fn seen(&self, droplet: &Droplet) -> Droplet {
        Droplet { locked: self.busy(Subject::Droplet(droplet.id)), ..droplet.clone() }
    }

    /// Whether an event is under way on it.
    pub(super) fn busy(&self, on: Subject) -> bool {
        let leaving = |id| self.resources.droplets.get(&id).is_some_and(|droplet| droplet.leaving);
        self.under_way.contains_key(&on) || matches!(on, Subject::Droplet(id) if leaving(id))
    }

    /// What is under way, found again from the actions of a world that was kept.
    pub(super) fn find_under_way(&mut self) {
        let running =
            self.resources.actions.values().filter(|action| action.status == Progress::InProgress);
        for action in running {
            *self.under_way.entry(action.on).or_default() += 1;
        }
    }

    pub(super) fn begin_action(
        &mut self,
        kind: &str,
        on: Subject,
        moves_to: Option<DropletId>,
    ) -> Action {
        let id = self.id();
        let fails = self.faults.action_fails(kind);
        let region = match on {
            Subject::Droplet(id) => {
                self.resources.droplets.get(&id).map(|droplet| droplet.region.clone())
            }
            Subject::Address(ip) => {
                self.resources.reserved.get(&ip).map(|reserved| reserved.region.clone())
            }
        };
        let action = Action {
            id,
            kind: kind.to_owned(),
            status: Progress::InProgress,
            on,
            started_at: self.now(),
            completed_at: None,
            region: region.unwrap_or_default(),
            moves_to,
            fails,
        };
        self.resources.actions.insert(id, action.clone());
        *self.under_way.entry(on).or_default() += 1;
        let Timings { boot, action: usual, .. } = self.config.timings;
        self.after(if kind == "create" { boot } else { usual }, Due::End(id));
        self.changed();
        action
    }

    pub(super) fn end_action(&mut self, id: u64, at: Timestamp) {
        let Some(action) = self.resources.actions.get(&id) else { return };
        let (on, fails) = (action.on, action.fails);
        let (kind, moves_to) = (action.kind.clone(), action.moves_to);
        let done = !fails
            && match on {
                Subject::Address(ip) => self.end_move(ip, &kind, moves_to),
                Subject::Droplet(id) => self.resources.droplets.contains_key(&id),
            };
        if let Some(action) = self.resources.actions.get_mut(&id) {
            action.completed_at = Some(at);
            action.status = if done { Progress::Completed } else { Progress::Errored };
        }
        if let Some(count) = self.under_way.get_mut(&on) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&on);
            }
        }
    }
}
