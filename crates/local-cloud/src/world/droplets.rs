//! Droplets: asynchronous boots and deletes, one event at a time.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use seachange_core::cloud::{DropletCreate, DropletId};
use serde::{Deserialize, Serialize};

use super::refusal::{Answer, Refusal};
use super::{Due, Inner, Timings, World, catalogue, tags};
use crate::fault::{Wrong, is_at_work};
use crate::machine::Machine;

/// How many droplets a block has room for.
const PLACES: u32 = 32_000;

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

    /// Whether it has a tag, however that is spelled.
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|found| found.eq_ignore_ascii_case(tag))
    }
}

/// What a machine behind a droplet is made by.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// Its id.
    pub id: DropletId,
    /// Its name.
    pub name: String,
    /// The public address it has, or is about to get.
    pub address: Ipv4Addr,
    /// Public keys that may log in as root.
    pub authorized_keys: Vec<String>,
    /// cloud-init text.
    pub user_data: Option<String>,
    /// Whether it has power.
    pub on: bool,
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
    pub(crate) effect: Effect,
    pub(crate) fails: bool,
}

/// What an action brings about at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// Nothing of its own.
    None,
    /// The address points there.
    PointTo(Option<DropletId>),
    /// The droplet has this name.
    Name(String),
    /// The droplet is on or off.
    Power(Status),
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
                let named = |name: &String| droplet.name.eq_ignore_ascii_case(name);
                droplet.created_at + lag <= now
                    && filter.tag.as_ref().is_none_or(|tag| droplet.has_tag(tag))
                    && filter.name.as_ref().is_none_or(named)
            };
            let found = inner.resources.droplets.values().filter(fits);
            let mut found: Vec<Droplet> = found.map(|droplet| inner.seen(droplet)).collect();
            if inner.config.races.newest_first {
                found.sort_by_key(|droplet| std::cmp::Reverse(droplet.created_at));
            }
            found
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
        self.act(|inner, _| inner.begin_end(id))
    }

    /// Begins the end of all droplets with a tag, at one instant.
    pub(crate) fn delete_tagged(&self, tag: &str) -> Answer<()> {
        self.act(|inner, _| {
            let droplets = inner.resources.droplets.values();
            let tagged = droplets.filter(|droplet| droplet.has_tag(tag)).map(|droplet| droplet.id);
            tagged.collect::<Vec<_>>().into_iter().try_for_each(|id| inner.begin_end(id))
        })
    }

    /// Every droplet that has begun to boot and is not gone.
    pub fn blueprints(&self) -> Vec<Blueprint> {
        self.act(|inner, _| {
            let base = inner.first_address();
            let begun = |droplet: &&Droplet| droplet.status != Status::New;
            let blueprint = |droplet: &Droplet| Blueprint {
                id: droplet.id,
                name: droplet.name.clone(),
                address: Ipv4Addr::from(base + droplet.place),
                authorized_keys: droplet.authorized_keys.clone(),
                user_data: droplet.user_data.clone(),
                on: droplet.status == Status::Active,
            };
            inner.resources.droplets.values().filter(begun).map(blueprint).collect()
        })
    }

    /// A droplet is gone, whoever did it.
    pub fn lose(&self, id: DropletId) {
        self.act(|inner, _| {
            inner.vanish(id);
            inner.changed();
        });
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
            let droplet = inner.resources.droplets.get(&id).ok_or_else(Refusal::not_found)?;
            let effect = match (kind, name) {
                ("rename", Some(name)) if is_host_name(name) => Effect::Name(name.to_owned()),
                ("rename", Some(_)) => return Err(no_host_name()),
                ("rename", None) => return Err(Refusal::unprocessable("Name can't be blank")),
                ("power_off", _) if droplet.status == Status::Off => {
                    return Err(Refusal::unprocessable("Droplet is already powered off."));
                }
                ("power_off" | "shutdown", _) => Effect::Power(Status::Off),
                ("power_on" | "power_cycle" | "reboot", _) => Effect::Power(Status::Active),
                _ => {
                    return Err(Refusal::unprocessable(format!(
                        "`{kind}` is not simulated by the local cloud"
                    )));
                }
            };
            Ok(inner.begin_action(kind, Subject::Droplet(id), effect))
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
            let place = self.take_place(id);
            let droplet = Droplet {
                id,
                name: name.clone(),
                status: Status::New,
                size: create.size.clone(),
                region: create.region.clone(),
                image: create.image.clone(),
                tags: tags.clone(),
                authorized_keys: authorized_keys.clone(),
                user_data: create.user_data.as_ref().map(|data| data.expose().to_owned()),
                address: None,
                private: Ipv4Addr::from(u32::from(self.config.addresses.private) + place),
                created_at: now,
                leaving: false,
                locked: true,
                place,
            };
            self.resources.droplets.insert(id, droplet.clone());
            let delay = self.config.timings.boot;
            let fails = is_at_work(Wrong::ActionErrors);
            self.after(delay, if fails { Due::Vanish(id) } else { Due::Activate(id) });
            let action = self.begin_action("create", Subject::Droplet(id), Effect::None);
            created.push((droplet, action.id));
        }
        self.changed();
        Ok(created)
    }

    fn begin_end(&mut self, id: DropletId) -> Answer<()> {
        let droplet = self.resources.droplets.get_mut(&id).ok_or_else(Refusal::not_found)?;
        if droplet.leaving || is_at_work(Wrong::Forget) {
            return Ok(());
        }
        if droplet.status == Status::New {
            return Err(Refusal::pending("Droplet"));
        }
        droplet.leaving = true;
        let delay = self.config.timings.delete;
        self.after(delay, Due::Vanish(id));
        self.changed();
        Ok(())
    }

    fn check_create(&self, create: &DropletCreate) -> Answer<()> {
        let refuse = |message: String| Err(Refusal::unprocessable(message));
        if create.names.is_empty() || create.names.len() > 10 {
            return refuse("You can create between 1 and 10 Droplets at once.".to_owned());
        }
        if !create.names.iter().all(|name| is_host_name(name)) {
            return Err(no_host_name());
        }
        if create.user_data.as_ref().is_some_and(|data| data.expose().len() > 65_536) {
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
        if !create.tags.iter().all(|tag| tags::is_sound(tag)) {
            return Err(tags::unsound());
        }
        let limit = self.config.limits.droplets;
        if (self.resources.droplets.len() + create.names.len()) as u64 > limit {
            return Err(Refusal::limit(
                "creating this/these droplet(s) will exceed your droplet limit",
            ));
        }
        Ok(())
    }

    /// The next place in the block that no droplet has. One that was left comes again only when all were used: whoever
    /// still believes in a droplet's address must not meet another droplet there.
    fn take_place(&mut self, id: DropletId) -> u32 {
        let mut place = self.resources.next_place;
        while self.places.contains_key(&place) {
            place = (place + 1) % PLACES;
        }
        self.resources.next_place = (place + 1) % PLACES;
        self.places.insert(place, id);
        place
    }

    /// The droplet that has this public address.
    pub(super) fn droplet_at(&self, address: Ipv4Addr) -> Option<DropletId> {
        let place = u32::from(address).checked_sub(self.first_address())?;
        let id = *self.places.get(&place)?;
        let droplet = self.resources.droplets.get(&id)?;
        (droplet.reachable() == Some(address)).then_some(id)
    }

    fn first_address(&self) -> u32 {
        u32::from(self.config.addresses.droplets)
    }

    pub(super) fn activate(&mut self, id: DropletId, at: Timestamp) {
        let timings = self.config.timings.clone();
        let seed = self.config.seed;
        let Some(droplet) = self.resources.droplets.get_mut(&id) else { return };
        droplet.status = Status::Active;
        let machine =
            Machine::boot(id, droplet.user_data.as_deref(), at, &timings.first_boot, seed ^ id.0);
        self.resources.machines.insert(id, machine);
        self.at(at + timings.address, Due::Address(id));
    }

    pub(super) fn give_address(&mut self, id: DropletId) {
        let base = self.first_address();
        if let Some(droplet) = self.resources.droplets.get_mut(&id) {
            droplet.address = Some(Ipv4Addr::from(base + droplet.place));
        }
    }

    pub(super) fn vanish(&mut self, id: DropletId) {
        if let Some(droplet) = self.resources.droplets.remove(&id) {
            self.places.remove(&droplet.place);
        }
        self.resources.machines.remove(&id);
        for reserved in
            self.resources.reserved.values_mut().filter(|reserved| reserved.droplet == Some(id))
        {
            reserved.droplet = None;
        }
    }

    /// A droplet as it is seen from outside.
    fn seen(&self, droplet: &Droplet) -> Droplet {
        Droplet { locked: self.is_held(Subject::Droplet(droplet.id)), ..droplet.clone() }
    }

    /// Whether an event is under way on it.
    pub(super) fn busy(&self, on: Subject) -> bool {
        self.config.races.pending_events && self.is_held(on)
    }

    /// The same, whether or not it matters.
    fn is_held(&self, on: Subject) -> bool {
        let leaving = |id| self.resources.droplets.get(&id).is_some_and(|droplet| droplet.leaving);
        self.under_way.contains_key(&on) || matches!(on, Subject::Droplet(id) if leaving(id))
    }

    /// What is under way, and who is where, found again in a world that was kept.
    pub(super) fn index(&mut self) {
        self.places =
            self.resources.droplets.values().map(|droplet| (droplet.place, droplet.id)).collect();
        let running =
            self.resources.actions.values().filter(|action| action.status == Progress::InProgress);
        for action in running {
            *self.under_way.entry(action.on).or_default() += 1;
        }
    }

    pub(super) fn begin_action(&mut self, kind: &str, on: Subject, effect: Effect) -> Action {
        let id = self.id();
        let fails = is_at_work(Wrong::ActionErrors);
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
            effect,
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
        let effect = action.effect.clone();
        let done = !fails
            && match (on, effect) {
                (Subject::Address(ip), Effect::PointTo(droplet)) => self.end_move(ip, droplet),
                (Subject::Address(_), _) => false,
                (Subject::Droplet(id), effect) => self.end_on_droplet(id, effect),
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

    /// Carries an action on a droplet out at its end; whether it could be.
    fn end_on_droplet(&mut self, id: DropletId, effect: Effect) -> bool {
        let Some(droplet) = self.resources.droplets.get_mut(&id) else { return false };
        match effect {
            Effect::None | Effect::PointTo(_) => {}
            Effect::Name(name) => droplet.name = name,
            Effect::Power(status) => droplet.status = status,
        }
        true
    }
}

/// Whether a droplet can be called so.
fn is_host_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
}

/// What is said of a name that cannot.
fn no_host_name() -> Refusal {
    Refusal::unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
}
