//! The release protocol: core's own `next` and `pending_action`, driven as the engine drives them.
//!
//! What the engine does between two durable phases is taken apart into the requests it sends, so that a run can die or
//! be robbed of its lock between any two of them. The lock is what the engine may rely on: its margin keeps a robbed
//! run from *beginning* an effect, not from finishing one it began.

#![expect(clippy::expect_used, reason = "an event that cannot happen is a bug of the model")]

use seachange_core::release::{Action, Event, Phase, Target, next, pending_action, take_over};
use stateright::{Model, Property};

/// A worker, or somewhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Old,
    New,
    Elsewhere,
}

/// What is on the standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Container {
    /// An older release.
    Earlier,
    None,
    /// The planned one, which is healthy or never will be.
    Planned {
        healthy: bool,
    },
}

/// A run of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Run {
    /// Not begun, or ended.
    Away,
    /// Died, or was fenced off.
    Dead,
    Alive {
        epoch: u8,
        serial: u8,
        at: At,
    },
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    /// Has the lock, has read nothing.
    Entering,
    /// Is about to make this phase durable.
    Persisting(Phase),
    /// Is about to do what the phase waits for.
    Acting(Phase),
    /// Has taken the standby's container away and not put the planned one there.
    Replacing,
    /// Has sent an assign to this place.
    ReadingBack(Phase, Place),
    /// Sets tags after the place it has read: how many of four are set. Without a phase: repairs at the end of a run.
    Tagging(Option<Phase>, Place, u8),
    /// Is about to give the lock back.
    Leaving,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    ip: Place,
    /// Where an assign that was accepted will move it.
    moving: Option<Place>,
    /// Of the old worker and the new one.
    prod: [bool; 2],
    fallback: [bool; 2],
    standby: Container,
    /// What is on the standby has passed the gate.
    gated: bool,
    serial: u8,
    phase: Option<Phase>,
    recorded: bool,
    epoch: u8,
    released: bool,
    runs: [Run; 2],
    begins_left: u8,
    deaths_left: u8,
    hands_left: u8,
    /// A person moved the address, and no run has set the tags since.
    meddled: bool,
    /// The last thing that happened: a run ended by itself, with nothing under way.
    ended_well: bool,
    /// A live container was taken away.
    harmed: bool,
    /// We moved users to what had not passed the gate.
    ungated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// A run takes the lock, if need be from one that stands still.
    Begin(usize),
    /// A run does its next thing, and it goes well or not.
    Step(usize, bool),
    Die(usize),
    /// The assign that was accepted ends: the address moves, or it does not.
    Land(bool),
    /// A person moves the address.
    Meddle(Place),
}

/// What is done wrongly, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    RetagBeforeSwitch,
    NoReadBack,
    NoFence,
    ChangeByName,
}

const LIVE: &str = "the live worker's container is never taken away";
const AT_REST: &str = "at rest tags and history agree with the address";

struct Protocol {
    bug: Option<Bug>,
    begins: u8,
    deaths: u8,
    hands: u8,
}

impl Model for Protocol {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            ip: Place::Old,
            moving: None,
            prod: [true, false],
            fallback: [false, true],
            standby: Container::Earlier,
            gated: false,
            serial: 0,
            phase: None,
            recorded: false,
            epoch: 0,
            released: true,
            runs: [Run::Away; 2],
            begins_left: self.begins,
            deaths_left: self.deaths,
            hands_left: self.hands,
            meddled: false,
            ended_well: false,
            harmed: false,
            ungated: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Move>) {
        for (index, run) in world.runs.iter().enumerate() {
            match run {
                Run::Away | Run::Dead if world.begins_left > 0 => actions.push(Move::Begin(index)),
                Run::Away | Run::Dead => {}
                Run::Alive { .. } => {
                    actions.extend([Move::Step(index, true), Move::Step(index, false)]);
                    if world.deaths_left > 0 {
                        actions.push(Move::Die(index));
                    }
                }
            }
        }
        if world.moving.is_some() {
            actions.extend([Move::Land(true), Move::Land(false)]);
        } else if world.hands_left > 0 {
            let places = [Place::Old, Place::New, Place::Elsewhere];
            actions.extend(places.into_iter().filter(|place| *place != world.ip).map(Move::Meddle));
        }
    }

    fn next_state(&self, before: &World, action: Move) -> Option<World> {
        let mut world = before.clone();
        world.ended_well = false;
        match action {
            Move::Begin(index) => {
                world.begins_left -= 1;
                world.epoch += 1;
                world.released = false;
                world.runs[index] =
                    Run::Alive { epoch: world.epoch, serial: world.serial, at: At::Entering };
            }
            Move::Die(index) => {
                world.deaths_left -= 1;
                world.runs[index] = Run::Dead;
            }
            Move::Land(well) => {
                let place = world.moving.take()?;
                if well {
                    world.ungated |= place == Place::New && !world.gated;
                    world.ip = place;
                }
            }
            Move::Meddle(place) => {
                world.hands_left -= 1;
                world.meddled = true;
                world.ip = place;
            }
            Move::Step(index, well) => {
                let Run::Alive { epoch, serial, at } = world.runs[index] else { return None };
                world.runs[index] = self.step(&mut world, epoch, serial, at, well)?;
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(LIVE, |_, world: &World| !world.harmed),
            Property::always("users are only moved to what passed the gate", |_, world: &World| {
                !world.ungated
            }),
            Property::always("somebody is always PROD", |_, world: &World| {
                world.prod.contains(&true)
            }),
            Property::always(AT_REST, |_, world: &World| agrees(world)),
            Property::always(
                "a run that ended well leaves nothing under way",
                |_, world: &World| !world.ended_well || world.phase.is_none() || world.meddled,
            ),
            Property::sometimes("a release completes", |_, world: &World| {
                world.ended_well && world.recorded && world.ip == Place::New
            }),
            Property::sometimes(
                "a release is resumed after a death",
                |model: &Self, world: &World| {
                    world.ended_well && world.recorded && world.deaths_left < model.deaths
                },
            ),
        ]
    }
}

/// What must be true when a run has just ended by itself, nobody else is at work, and nobody interfered.
fn agrees(world: &World) -> bool {
    let alone = world.runs.iter().all(|run| !matches!(run, Run::Alive { .. }));
    if !world.ended_well || !alone || world.meddled || world.moving.is_some() {
        return true;
    }
    let live = match world.ip {
        Place::Old => [true, false],
        Place::New => [false, true],
        Place::Elsewhere => return true,
    };
    world.prod == live && world.fallback == [live[1], live[0]]
}

impl Protocol {
    /// One request of a run, or one thing it makes durable. `None`: it has to wait.
    fn step(&self, world: &mut World, epoch: u8, serial: u8, at: At, well: bool) -> Option<Run> {
        let go = |at| Some(Run::Alive { epoch, serial, at });
        let holds = world.epoch == epoch && !world.released;
        let fenced = Some(Run::Dead);
        match at {
            At::Entering => {
                // The address is judged only at rest.
                if world.moving.is_some() {
                    return None;
                }
                let target = match world.ip {
                    Place::New => Target::New,
                    Place::Old => Target::Old,
                    Place::Elsewhere => Target::Other,
                };
                match world.phase {
                    Some(phase) => {
                        // What does not go well here is that a person wants the old release back.
                        let phase = take_over(phase, target, !well).expect("it is under way");
                        go(At::Persisting(phase))
                    }
                    // The planner: a release to what is live already is no release.
                    None if world.ip == Place::Old => go(At::Persisting(Phase::Staging)),
                    None => go(At::Tagging(None, world.ip, 0)),
                }
            }
            At::Persisting(phase) => {
                if world.serial != serial && self.bug != Some(Bug::NoFence) {
                    return fenced;
                }
                world.serial += 1;
                world.recorded |= phase == Phase::Completed;
                let rests = pending_action(phase).is_none();
                world.phase = (!rests).then_some(phase);
                let at = if rests { At::Leaving } else { At::Acting(phase) };
                Some(Run::Alive { epoch, serial: world.serial, at })
            }
            At::Acting(_) if !holds => fenced,
            At::Acting(phase) => go(self.act(world, phase, well)?),
            At::Replacing => {
                // The engine names a container once: what somebody else put there is a conflict.
                if world.standby != Container::None {
                    if self.bug != Some(Bug::ChangeByName) {
                        return go(after(Phase::Staging, Event::Failed));
                    }
                    world.harmed |= world.ip == Place::New;
                }
                world.standby = Container::Planned { healthy: well };
                world.gated = false;
                go(after(Phase::Staging, Event::Done))
            }
            At::ReadingBack(phase, wanted) => {
                let trusts_the_answer = self.bug == Some(Bug::NoReadBack);
                if world.moving.is_some() && !trusts_the_answer {
                    return None;
                }
                go(match world.ip == wanted || trusts_the_answer {
                    true => after(phase, Event::Done),
                    // It is parked, and the next run goes on there.
                    false if phase == Phase::SwitchingBack => At::Leaving,
                    false => after(phase, Event::Failed),
                })
            }
            At::Tagging(_, _, 0..=3) if !holds => fenced,
            At::Tagging(phase, place, step @ 0..=3) => {
                let (live, other) = match place {
                    Place::Old => (0, 1),
                    Place::New => (1, 0),
                    Place::Elsewhere => return go(tagged(phase)),
                };
                match step {
                    0 => world.prod[live] = true,
                    1 => world.prod[other] = false,
                    2 => world.fallback[other] = true,
                    _ => {
                        world.fallback[live] = false;
                        world.meddled &= place != world.ip;
                    }
                }
                go(At::Tagging(phase, place, step + 1))
            }
            At::Tagging(phase, ..) => go(tagged(phase)),
            At::Leaving => {
                // Only one's own epoch can be released.
                if holds {
                    world.released = true;
                    // A robbed run may have written once more, as long as nobody else did: the next one sees to it.
                    world.ended_well = world.serial == serial && world.phase.is_none();
                }
                Some(Run::Away)
            }
        }
    }

    /// The first request of what a phase waits for.
    fn act(&self, world: &mut World, phase: Phase, well: bool) -> Option<At> {
        Some(match pending_action(phase)? {
            Action::Stage => match world.standby {
                Container::Planned { .. } => after(phase, Event::Done),
                Container::Earlier | Container::None => {
                    // Read just before: users are not there.
                    if world.ip == Place::New {
                        return Some(after(phase, Event::Failed));
                    }
                    world.standby = Container::None;
                    world.gated = false;
                    At::Replacing
                }
            },
            Action::Gate => {
                let passes = world.standby == Container::Planned { healthy: true };
                world.gated |= passes;
                match (passes, self.bug) {
                    (true, Some(Bug::RetagBeforeSwitch)) => At::Tagging(Some(phase), Place::New, 0),
                    (true, _) => after(phase, Event::Done),
                    (false, _) => after(phase, Event::Failed),
                }
            }
            Action::Switch | Action::SwitchBack if world.moving.is_some() => return None,
            Action::Switch => match world.ip {
                Place::New => after(phase, Event::Done),
                Place::Elsewhere => after(phase, Event::Failed),
                Place::Old if !well => after(phase, Event::Failed),
                Place::Old => {
                    world.moving = Some(Place::New);
                    At::ReadingBack(phase, Place::New)
                }
            },
            Action::SwitchBack => {
                world.moving = Some(Place::Old);
                At::ReadingBack(phase, Place::Old)
            }
            Action::Verify => after(phase, if well { Event::Done } else { Event::Failed }),
            Action::Retag if self.bug == Some(Bug::RetagBeforeSwitch) => after(phase, Event::Done),
            Action::Retag => At::Tagging(Some(phase), world.ip, 0),
            Action::Record => after(phase, Event::Done),
        })
    }
}

/// What is made durable after an event.
fn after(phase: Phase, event: Event) -> At {
    At::Persisting(next(phase, event).expect("the engine feeds only what can happen"))
}

/// Where a run goes on when the tags are set.
fn tagged(phase: Option<Phase>) -> At {
    phase.map_or(At::Leaving, |phase| after(phase, Event::Done))
}

#[test]
fn the_release_protocol_holds() {
    let bound = |begins, deaths, hands| Protocol { bug: None, begins, deaths, hands };
    crate::must_hold("release: two at a time, four runs, two deaths", bound(4, 2, 0));
    crate::must_hold("release: three runs, one death, one move by hand", bound(3, 1, 1));
}

#[test]
fn bugs_that_were_put_in_are_found() {
    let with = |bug| Protocol { bug: Some(bug), begins: 3, deaths: 1, hands: 0 };
    crate::must_break(with(Bug::RetagBeforeSwitch), AT_REST);
    crate::must_break(with(Bug::NoReadBack), AT_REST);
    crate::must_break(with(Bug::NoFence), AT_REST);
    crate::must_break(with(Bug::ChangeByName), LIVE);
}
