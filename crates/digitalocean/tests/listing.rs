//! Lists: how many requests they cost, and what happens when the list moves while it is read.

use seachange_core::cloud::{Cloud as _, CloudError, DropletId};
use serde_json::{Value, json};

use crate::server::{Reply, Seen, answer, serve};

fn droplets(ids: impl Iterator<Item = u64>) -> Vec<Value> {
    ids.map(|id| {
        json!({ "id": id, "name": format!("a{id}"), "status": "active",
            "created_at": "2020-07-21T18:37:44Z" })
    })
    .collect()
}

fn page_number(seen: &Seen) -> u64 {
    let (_, after) = seen.target.split_once("&page=").unwrap();
    after.split('&').next().unwrap().parse().unwrap()
}

/// Page `number` of the ids, as the service would send it, with links to another host.
fn page(ids: &[u64], number: u64, size: usize) -> Reply {
    let from = (usize::try_from(number).unwrap() - 1) * size;
    let held = ids.iter().copied().skip(from).take(size);
    let last = ids.len().div_ceil(size).max(1) as u64;
    let link = |number: u64| format!("https://elsewhere.invalid/v2/droplets?page={number}");
    let mut pages = json!({});
    if number < last {
        pages = json!({ "next": link(number + 1), "last": link(last) });
    }
    let body = json!({ "droplets": droplets(held), "links": { "pages": pages },
        "meta": { "total": ids.len() } });
    answer(200, body.to_string())
}

#[tokio::test(start_paused = true)]
async fn five_thousand_droplets_cost_twenty_five_requests() {
    let ids: Vec<u64> = (1..=5000).collect();
    let expected: Vec<_> = ids.iter().copied().map(DropletId).collect();
    let server = serve(move |_, seen| page(&ids, page_number(seen), 200)).await;
    let client = server.client();
    let all = client.droplets_by_tag("seachange:demo").await.unwrap();
    assert_eq!(all.iter().map(|droplet| droplet.id).collect::<Vec<_>>(), expected);
    assert_eq!(client.requests_sent(), 25);
    assert_eq!(server.lines()[0], "GET /v2/droplets?per_page=200&page=1&tag_name=seachange:demo");
}

#[tokio::test(start_paused = true)]
async fn a_short_list_costs_one_request() {
    for count in [0, 1, 200] {
        let ids: Vec<u64> = (1..=count).collect();
        let server = serve(move |_, seen| page(&ids, page_number(seen), 200)).await;
        let client = server.client();
        assert_eq!(client.droplets_by_tag("x").await.unwrap().len() as u64, count);
        assert_eq!(client.requests_sent(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_caps_pages_is_read_to_the_end() {
    let ids: Vec<u64> = (1..=45).collect();
    let server = serve(move |_, seen| page(&ids, page_number(seen), 20)).await;
    assert_eq!(server.client().droplets_by_tag("x").await.unwrap().len(), 45);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_links_the_total_tells_the_pages() {
    let ids: Vec<u64> = (1..=45).collect();
    let server = serve(move |_, seen| {
        let from = (usize::try_from(page_number(seen)).unwrap() - 1) * 20;
        let held = ids.iter().copied().skip(from).take(20);
        let body = json!({ "droplets": droplets(held), "meta": { "total": 45 } });
        answer(200, body.to_string())
    })
    .await;
    assert_eq!(server.client().droplets_by_tag("x").await.unwrap().len(), 45);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_moved_to_the_next_page_is_kept_once() {
    // While pages are read, a new droplet comes first and moves 20 to page 2.
    let before: Vec<u64> = (1..=30).collect();
    let after: Vec<u64> = (0..=30).collect();
    let server = serve(move |number, seen| {
        page(if number == 0 { &before } else { &after }, page_number(seen), 20)
    })
    .await;
    let all = server.client().droplets_by_tag("x").await.unwrap();
    let mut ids: Vec<_> = all.iter().map(|droplet| droplet.id.0).collect();
    ids.sort_unstable();
    // The two pages of the first reading told different totals: it is done again.
    assert_eq!(ids, (0..=30).collect::<Vec<_>>());
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_slipped_to_the_page_before_is_found_by_a_second_look() {
    // Between page 1 and page 2, droplet 1 vanishes: 21 slips from page 2 to page 1.
    let before: Vec<u64> = (1..=30).collect();
    let after: Vec<u64> = (2..=30).collect();
    let server = serve(move |number, seen| {
        page(if number == 0 { &before } else { &after }, page_number(seen), 20)
    })
    .await;
    let all = server.client().droplets_by_tag("x").await.unwrap();
    assert!(all.iter().any(|droplet| droplet.id == DropletId(21)), "21 was lost");
    assert_eq!((all.len(), server.seen().len()), (29, 4));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_links_for_ever_is_left_when_nothing_is_new() {
    let server = serve(|_, seen| {
        let next = format!("https://x.invalid/?page={}", page_number(seen) + 1);
        let body = json!({ "droplets": droplets(1..=2), "links": { "pages": { "next": next } } });
        answer(200, body.to_string())
    })
    .await;
    assert_eq!(server.client().droplets_by_tag("x").await.unwrap().len(), 2);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_absurd_number_of_pages_is_refused() {
    let server = serve(|_, _| {
        let body = json!({ "droplets": droplets(1..=2), "meta": { "total": u64::MAX } });
        answer(200, body.to_string())
    })
    .await;
    let error = server.client().droplets_by_tag("x").await.unwrap_err();
    assert!(matches!(error, CloudError::Malformed { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_its_root_key_is_not_an_empty_list() {
    let server = serve(|_, _| answer(200, r#"{"meta":{"total":0}}"#)).await;
    let error = server.client().droplets_by_tag("x").await.unwrap_err();
    assert!(matches!(error, CloudError::Malformed { .. }), "{error:?}");
}
