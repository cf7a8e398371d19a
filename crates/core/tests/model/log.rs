//! The protocol of the create-only log and the lock beside it, as the engine's store has it.
//!
//! Only creations decide, an unclear answer is read back and told by its nonce, a lock is released by its own epoch, and
//! a holder that stood still for a whole lease is taken over. What a holder knows of its lease is time alone: it may
//! act until it has stood still itself.

use stateright::{Model, Property};

/// Whose an object is: the process, and which of its attempts.
type Nonce = (u8, u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Away,
    /// Wants the lock; has read nothing.
    Looking,
    /// Creates this epoch.
    Locking(usize),
    /// Does not know whether it created this epoch.
    LockUnclear(usize),
    /// Holds this epoch; creates this serial.
    Writing(usize, usize),
    /// Does not know whether it created this serial.
    WriteUnclear(usize, usize),
    /// Gives this epoch back.
    Releasing(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    at: At,
    attempt: u8,
    /// It stands still: no beat, no step, until it wakes up.
    still: bool,
    /// It stood still for a whole lease by now, and knows it when it wakes up.
    late: bool,
    dead: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// `lock/EPOCH`: whose, and whether it is released.
    locks: Vec<(Nonce, bool)>,
    /// `state/SERIAL`: whose.
    states: Vec<Nonce>,
    processes: [Process; 2],
    /// Commits that somebody was told are durable: serial and whose.
    acknowledged: Vec<(usize, Nonce)>,
    /// Somebody was told that it lost, though the object is its own.
    lost_to_itself: bool,
    begins_left: u8,
    stills_left: u8,
    unclear_left: u8,
    deaths_left: u8,
}

/// How the store answers a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Clear,
    /// Done, and the answer is lost.
    LostAfter,
    /// Not done, and the answer is lost.
    LostBefore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Begin(usize),
    Step(usize, Answer),
    StandStill(usize),
    WakeUp(usize),
    Die(usize),
}

/// What is done wrongly, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// An unclear create is sent again, and believed.
    NoReadBack,
    /// Releasing removes the lock that is there, whoever's it is.
    DeleteUnlock,
    /// A commit overwrites.
    Overwrite,
}

struct Protocol {
    bug: Option<Bug>,
}

const DURABLE: &str = "what was acknowledged is in the log";
const ITSELF: &str = "nobody loses against itself";
const ONE: &str = "at most one process may change the cloud";

impl Model for Protocol {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        let process = Process { at: At::Away, attempt: 0, still: false, late: false, dead: false };
        vec![World {
            locks: Vec::new(),
            states: Vec::new(),
            processes: [process.clone(), process],
            acknowledged: Vec::new(),
            lost_to_itself: false,
            begins_left: 4,
            stills_left: 2,
            unclear_left: 2,
            deaths_left: 1,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Move>) {
        for (index, process) in world.processes.iter().enumerate() {
            match (process.at, process.still) {
                _ if process.dead => {}
                (_, true) => actions.push(Move::WakeUp(index)),
                (At::Away, false) if world.begins_left > 0 => actions.push(Move::Begin(index)),
                (At::Away, false) => {}
                (_, false) => {
                    actions.push(Move::Step(index, Answer::Clear));
                    if world.unclear_left > 0 {
                        actions.push(Move::Step(index, Answer::LostAfter));
                        actions.push(Move::Step(index, Answer::LostBefore));
                    }
                    if world.stills_left > 0 {
                        actions.push(Move::StandStill(index));
                    }
                    if world.deaths_left > 0 {
                        actions.push(Move::Die(index));
                    }
                }
            }
        }
    }

    fn next_state(&self, before: &World, action: Move) -> Option<World> {
        let mut world = before.clone();
        match action {
            Move::Begin(index) => {
                world.begins_left -= 1;
                let process = &mut world.processes[index];
                (process.at, process.late) = (At::Looking, false);
                process.attempt += 1;
            }
            Move::StandStill(index) => {
                world.stills_left -= 1;
                world.processes[index].still = true;
            }
            Move::WakeUp(index) => world.processes[index].still = false,
            Move::Die(index) => {
                world.deaths_left -= 1;
                world.processes[index].dead = true;
            }
            Move::Step(index, answer) => {
                world.unclear_left -= u8::from(answer != Answer::Clear);
                world.processes[index].at = self.step(&mut world, index, answer)?;
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(DURABLE, |_, world: &World| {
                let is_there = |(serial, whose): &(usize, Nonce)| world.states[*serial] == *whose;
                world.acknowledged.iter().all(is_there)
            }),
            Property::always(ITSELF, |_, world: &World| !world.lost_to_itself),
            Property::always(ONE, |_, world: &World| {
                let holds = |process: &&Process| {
                    matches!(process.at, At::Writing(..) | At::WriteUnclear(..))
                        && !process.still
                        && !process.late
                        && !process.dead
                };
                world.processes.iter().filter(holds).count() <= 1
            }),
            Property::sometimes("both commit", |_, world: &World| {
                let by = |index| world.acknowledged.iter().any(|(_, whose)| whose.0 == index);
                by(0) && by(1)
            }),
            Property::sometimes("a lock is taken over from the dead", |_, world: &World| {
                world.processes.iter().any(|process| process.dead) && world.locks.len() > 2
            }),
        ]
    }
}

impl Protocol {
    fn step(&self, world: &mut World, index: usize, answer: Answer) -> Option<At> {
        let process = &world.processes[index];
        let nonce = (index as u8, process.attempt);
        Some(match process.at {
            At::Away => return None,
            At::Looking => {
                let newest = world.locks.len();
                if let Some((holder, false)) = world.locks.last() {
                    let holder = &mut world.processes[usize::from(holder.0)];
                    if !holder.still && !holder.dead {
                        return Some(At::Away);
                    }
                    // It was watched for a whole lease.
                    holder.late = true;
                }
                At::Locking(newest)
            }
            At::Locking(epoch) => match create(&mut world.locks, epoch, (nonce, false), answer) {
                Some(true) => At::Writing(epoch, world.states.len()),
                Some(false) => At::Looking,
                None if self.bug == Some(Bug::NoReadBack) => At::Locking(epoch),
                None => At::LockUnclear(epoch),
            },
            At::LockUnclear(epoch) => match world.locks.get(epoch) {
                Some((whose, _)) if *whose == nonce => At::Writing(epoch, world.states.len()),
                Some(_) => At::Looking,
                None => At::Locking(epoch),
            },
            At::Writing(epoch, serial) => {
                if self.bug == Some(Bug::Overwrite) && serial < world.states.len() {
                    world.states[serial] = nonce;
                    world.acknowledged.push((serial, nonce));
                    return Some(At::Releasing(epoch));
                }
                match create(&mut world.states, serial, nonce, answer) {
                    Some(true) => {
                        world.acknowledged.push((serial, nonce));
                        At::Releasing(epoch)
                    }
                    // Fenced off.
                    Some(false) => {
                        world.lost_to_itself |= world.states[serial] == nonce;
                        At::Releasing(epoch)
                    }
                    None if self.bug == Some(Bug::NoReadBack) => At::Writing(epoch, serial),
                    None => At::WriteUnclear(epoch, serial),
                }
            }
            At::WriteUnclear(epoch, serial) => match world.states.get(serial) {
                Some(whose) if *whose == nonce => {
                    world.acknowledged.push((serial, nonce));
                    At::Releasing(epoch)
                }
                Some(_) => At::Releasing(epoch),
                None => At::Writing(epoch, serial),
            },
            At::Releasing(epoch) => {
                let epoch = match self.bug {
                    Some(Bug::DeleteUnlock) => world.locks.len() - 1,
                    _ => epoch,
                };
                if answer != Answer::LostBefore {
                    world.locks[epoch].1 = true;
                }
                At::Away
            }
        })
    }
}

/// Creates an object that may be created once. `None`: there was no answer.
fn create<T: PartialEq>(
    objects: &mut Vec<T>,
    key: usize,
    object: T,
    answer: Answer,
) -> Option<bool> {
    let free = objects.len() == key;
    match answer {
        Answer::LostBefore => return None,
        Answer::Clear | Answer::LostAfter if free => objects.push(object),
        Answer::Clear | Answer::LostAfter => {}
    }
    (answer == Answer::Clear).then_some(free)
}

#[test]
fn the_log_and_the_lock_hold() {
    crate::must_hold("log: two at a time, four runs, one death", Protocol { bug: None });
}

#[test]
fn bugs_that_were_put_in_are_found() {
    crate::must_break(Protocol { bug: Some(Bug::NoReadBack) }, ITSELF);
    crate::must_break(Protocol { bug: Some(Bug::DeleteUnlock) }, ONE);
    crate::must_break(Protocol { bug: Some(Bug::Overwrite) }, DURABLE);
}
