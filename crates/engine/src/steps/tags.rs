//! The role tags: a view of the floating IP, repaired in an order in which no reader ever sees zero PROD.

use seachange_core::address::Address;
use seachange_core::cloud::{CloudError, DropletId};
use seachange_core::event::Outcome;
use seachange_core::journal::OperationKind;
use seachange_core::names::{FALLBACK, PROD, same_tag};

use super::floating_ip;
use crate::listing::Droplets;
use crate::step::{Done, Step, Trouble};

/// What is to be done to one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Move {
    Put(&'static str, Vec<DropletId>),
    Take(&'static str, Vec<DropletId>),
}

/// Makes the tags follow the floating IP, as a step of its own.
pub(crate) async fn retag(step: &mut Step<'_>) -> Result<Done, Trouble> {
    let moves = due(step).await?;
    if moves.is_empty() {
        return Ok((Outcome::AlreadySo, "they follow the floating IP".to_owned()));
    }
    let addresses = [Address::Tag(PROD.to_owned()), Address::Tag(FALLBACK.to_owned())];
    let operation = step.begin(OperationKind::Repeatable, &addresses).await?;
    make(step, &moves).await?;
    step.end(operation, Vec::new()).await?;
    Ok((Outcome::Changed, format!("{} corrections", moves.len())))
}

/// The same inside a release, whose transition is its journal.
pub(crate) async fn follow_floating_ip(step: &mut Step<'_>) -> Result<(), Trouble> {
    let moves = due(step).await?;
    make(step, &moves).await
}

async fn due(step: &mut Step<'_>) -> Result<Vec<Move>, Trouble> {
    let run = step.run;
    let ip = floating_ip::ours(step)?;
    let live = run.context.cloud.reserved_ip(ip).await?.droplet;
    let Some(live) = live.filter(|_| step.worker_of(live).is_some()) else {
        return Err(Trouble::Missing(format!("{ip} points to no worker of the stack")));
    };
    let seen = run.listing.now().await?;
    let workers: Vec<DropletId> =
        run.journal.with(|state| state.workers().map(|(_, droplet)| droplet.id).collect());
    Ok(moves(live, &workers, &seen))
}

/// The corrections, in their order: PROD onto the live worker, PROD off the others, FALLBACK onto the others, FALLBACK
/// off the live one. Where tags cannot be seen every correction is made; each is harmless.
fn moves(live: DropletId, workers: &[DropletId], seen: &Droplets) -> Vec<Move> {
    let tagged = |id: &DropletId, tag: &str| {
        let tags = seen.get(id).and_then(|droplet| droplet.tags.as_ref())?;
        Some(tags.iter().any(|there| same_tag(there, tag)))
    };
    let lacks = |id: &DropletId, tag| tagged(id, tag) != Some(true);
    let has = |id: &DropletId, tag| tagged(id, tag) != Some(false);
    let others = || workers.iter().copied().filter(move |id| *id != live);
    let only_live = || std::iter::once(live);
    let moves = [
        Move::Put(PROD, only_live().filter(|id| lacks(id, PROD)).collect()),
        Move::Take(PROD, others().filter(|id| has(id, PROD)).collect()),
        Move::Put(FALLBACK, others().filter(|id| lacks(id, FALLBACK)).collect()),
        Move::Take(FALLBACK, only_live().filter(|id| has(id, FALLBACK)).collect()),
    ];
    let needed = |one: &Move| match one {
        Move::Put(_, ids) | Move::Take(_, ids) => !ids.is_empty(),
    };
    moves.into_iter().filter(needed).collect()
}

async fn make(step: &mut Step<'_>, moves: &[Move]) -> Result<(), Trouble> {
    let pace =
        crate::pace::Pace::steadfast(&step.run.context.patience, step.run.context.patience.action);
    for one in moves {
        step.send_repeatable(&pace, async |cloud| match one {
            Move::Put(tag, ids) => cloud.tag_droplets(tag, ids).await,
            Move::Take(tag, ids) => cloud.untag_droplets(tag, ids).await,
        })
        .await?;
    }
    Ok(())
}

/// Deletes tags of the stack's own.
pub(crate) async fn delete(step: &mut Step<'_>, tags: &[String]) -> Result<Done, Trouble> {
    let addresses: Vec<Address> = tags.iter().cloned().map(Address::Tag).collect();
    let operation = step.begin(OperationKind::Repeatable, &addresses).await?;
    let pace = step.pace(step.run.context.patience.delete);
    for tag in tags {
        let sent = step.send_repeatable(&pace, async |cloud| cloud.delete_tag(tag).await).await;
        match sent {
            Ok(()) | Err(Trouble::Cloud(CloudError::NotFound { .. })) => {}
            Err(other) => return Err(other),
        }
    }
    step.end(operation, Vec::new()).await?;
    Ok((Outcome::Removed, tags.join(", ")))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use seachange_core::cloud::{Droplet, DropletId, DropletStatus};

    use super::{Move, moves};
    use crate::listing::Droplets;

    fn seen(tags: &[(u64, Option<&[&str]>)]) -> Droplets {
        let droplet = |&(id, tags): &(u64, Option<&[&str]>)| {
            let tags = tags.map(|tags| tags.iter().map(|&tag| tag.to_owned()).collect());
            let droplet = Droplet {
                id: DropletId(id),
                name: String::new(),
                status: DropletStatus::Active,
                locked: false,
                size: String::new(),
                region: String::new(),
                image: None,
                public_ipv4: None,
                private_ipv4: None,
                tags,
                created_at: Timestamp::UNIX_EPOCH,
            };
            (DropletId(id), droplet)
        };
        tags.iter().map(droplet).collect()
    }

    #[test]
    fn only_the_corrections_that_are_needed_and_prod_is_put_before_it_is_taken() {
        let [one, two, three] = [1, 2, 3].map(DropletId);
        let workers = [one, two, three];
        let before =
            seen(&[(1, Some(&["prod"])), (2, Some(&["FALLBACK"])), (3, Some(&["fallback"]))]);
        assert_eq!(
            moves(two, &workers, &before),
            [
                Move::Put("PROD", vec![two]),
                Move::Take("PROD", vec![one]),
                Move::Put("FALLBACK", vec![one]),
                Move::Take("FALLBACK", vec![two]),
            ]
        );
        assert_eq!(moves(one, &workers, &before), []);
        let hidden = seen(&[(1, None), (2, None), (3, None)]);
        assert_eq!(moves(one, &workers, &hidden).len(), 4, "what cannot be seen is set");
    }
}
