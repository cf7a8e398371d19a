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
    let first = reading(transport, &page).await?;
    if first.is_settled() {
        return Ok(first.items);
    }
    // Something moved while we read. One more look is enough: what is still moving then is news.
    Ok(reading(transport, &page).await?.items)
}

/// Every page once.
async fn reading<T: Item + DeserializeOwned + Send>(
    transport: &Transport,
    page: &(impl Fn(u64) -> Request<Envelope<T>> + Sync),
) -> Result<Reading<T>, CloudError> {
    let read = |number| {
        let request = page(number);
        async move {
            let answer = transport.send(&request).await?;
            let (total, next, last) = (answer.total, answer.next, answer.last);
            Ok::<_, CloudError>(Page { items: answer.into_many(&request)?, total, next, last })
        }
    };
    let first = read(1).await?;
    // The service may cap `per_page`: what the first page holds is what a page holds.
    let pages = match (first.last, first.items.len() as u64, first.total) {
        (Some(last), _, _) => last,
        (None, 1.., Some(total)) => total.div_ceil(first.items.len() as u64).max(1),
        (None, _, _) => 1,
    };
    if pages > MOST_PAGES {
        return Err(CloudError::Malformed {
            request: page(1).to_string(),
            detail: format!("it speaks of {pages} pages"),
        });
    }
    let mut reading =
        Reading { items: Vec::new(), ids: BTreeSet::new(), pages: 0, totals: BTreeSet::new() };
    let mut next = first.next;
    reading.add(first);
    for other in try_join_all((2..=pages).map(read)).await? {
        next = other.next;
        reading.add(other);
    }
    // The list grew, or its end was not told: go on page by page until there is no more or nothing new.
    let mut number = pages;
    while let Some(following) = next.filter(|next| (number + 1..=MOST_PAGES).contains(next)) {
        number = following;
        let other = read(number).await?;
        next = other.next;
        if !reading.add(other) {
            break;
        }
    }
    Ok(reading)
}

struct Page<T> {
    items: Vec<T>,
    total: Option<u64>,
    next: Option<u64>,
    last: Option<u64>,
}

struct Reading<T: Item> {
    items: Vec<T>,
    ids: BTreeSet<T::Id>,
    pages: u64,
    totals: BTreeSet<u64>,
}

impl<T: Item> Reading<T> {
    /// Keeps what is new; says whether anything was.
    fn add(&mut self, page: Page<T>) -> bool {
        let before = self.items.len();
        self.pages += 1;
        self.totals.extend(page.total);
        for item in page.items {
            if self.ids.insert(item.id()) {
                self.items.push(item);
            }
        }
        self.items.len() > before
    }

    /// One page is one instant. Of several, all must tell one total, and that many items must have come.
    fn is_settled(&self) -> bool {
        let promised = self.totals.last().copied().unwrap_or(0);
        self.pages == 1 || (self.totals.len() <= 1 && self.items.len() as u64 >= promised)
    }
}
