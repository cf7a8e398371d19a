//! Reading a list to its last page.
//!
//! The first page tells how many there are; the others are read at the same time. Pages are numbered, not cursors, so
//! an item can move between two reads: ids are kept once, and a list that came out shorter than the service said is
//! read a second time. Only page numbers are taken from the links, never their host.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use seachange_core::cloud::CloudError;
use serde::de::DeserializeOwned;

use crate::request::Request;
use crate::transport::Transport;
use crate::wire::{Envelope, Item};

/// More pages than any account has: beyond it the answer is wrong, not large.
const MOST_PAGES: u64 = 2_000;

/// All items, each id once, in the service's order.
pub(crate) async fn all<T: Item + DeserializeOwned + Send>(
    transport: &Transport,
    page: impl Fn(u64) -> Request<Envelope<T>> + Sync,
) -> Result<Vec<T>, CloudError> {
    let (items, promised) = once(transport, &page).await?;
    if items.len() as u64 >= promised {
        return Ok(items);
    }
    // Something moved while we read. One more look is enough: what is still missing then is being deleted.
    let (again, _) = once(transport, &page).await?;
    Ok(again)
}

/// One reading, and how many items it should have.
async fn once<T: Item + DeserializeOwned + Send>(
    transport: &Transport,
    page: &(impl Fn(u64) -> Request<Envelope<T>> + Sync),
) -> Result<(Vec<T>, u64), CloudError> {
    let mut gathered = Gathered { items: Vec::new(), ids: BTreeSet::new() };
    let request = page(1);
    let first = transport.send(&request).await?;
    let mut promised = first.total.unwrap_or(0);
    let mut next = first.next;
    let linked = first.last;
    let items = first.into_many(&request)?;
    // The service may cap `per_page`: what the first page holds is what a page holds.
    let pages = match (linked, items.len() as u64) {
        (Some(last), _) => last,
        (None, 0) => 1,
        (None, held) if next.is_some() => promised.div_ceil(held),
        (None, _) => 1,
    };
    gathered.add(items);
    if pages > MOST_PAGES {
        return Err(CloudError::Malformed {
            request: request.to_string(),
            detail: format!("it speaks of {pages} pages"),
        });
    }
    let others = (2..=pages).map(|number| {
        let request = page(number);
        async move {
            let answer = transport.send(&request).await?;
            let (total, next) = (answer.total, answer.next);
            Ok::<_, CloudError>((answer.into_many(&request)?, total, next))
        }
    });
    for (items, total, after) in try_join_all(others).await? {
        gathered.add(items);
        promised = total.unwrap_or(promised);
        next = after;
    }
    // The list grew, or its end was not told: go on page by page until there is no more or nothing new.
    let mut number = pages;
    while let Some(following) = next {
        if following <= number || following > MOST_PAGES {
            break;
        }
        number = following;
        let request = page(number);
        let answer = transport.send(&request).await?;
        promised = answer.total.unwrap_or(promised);
        next = answer.next;
        if !gathered.add(answer.into_many(&request)?) {
            break;
        }
    }
    Ok((gathered.items, if number > 1 { promised } else { 0 }))
}

struct Gathered<T: Item> {
    items: Vec<T>,
    ids: BTreeSet<T::Id>,
}

impl<T: Item> Gathered<T> {
    /// Keeps what is new; says whether anything was.
    fn add(&mut self, items: Vec<T>) -> bool {
        let before = self.items.len();
        for item in items {
            if self.ids.insert(item.id()) {
                self.items.push(item);
            }
        }
        self.items.len() > before
    }
}
