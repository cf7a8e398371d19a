//! What every `StateStore` must do.

use std::sync::Arc;

use seachange_core::store::{Created, StateStore};

/// Everything, in a store that is empty.
pub(crate) async fn suite(store: Arc<dyn StateStore>) {
    one_create_wins(&*store).await;
    rivals(&store).await;
    lists(&*store).await;
    bodies(&*store).await;
}

/// The first create is the object; a later one changes nothing.
async fn one_create_wins(store: &dyn StateStore) {
    assert!(!store.name().is_empty());
    assert_eq!(store.get("one/a").await, Ok(None));
    assert_eq!(store.create("one/a", b"first").await, Ok(Created::Yes));
    assert_eq!(store.create("one/a", b"second").await, Ok(Created::Taken));
    assert_eq!(store.get("one/a").await.unwrap().as_deref(), Some(&b"first"[..]));
    store.put("one/a", b"put").await.unwrap();
    assert_eq!(store.get("one/a").await.unwrap().as_deref(), Some(&b"put"[..]));
    for _ in 0..2 {
        store.delete("one/a").await.unwrap();
    }
    assert_eq!(store.get("one/a").await, Ok(None));
    assert_eq!(store.create("one/a", b"anew").await, Ok(Created::Yes));
    store.delete("one/a").await.unwrap();
}

/// Of any number of rivals exactly one wins, and what is there is the winner's.
async fn rivals(store: &Arc<dyn StateStore>) {
    for race in 0..5 {
        let key = format!("race/{race}");
        let rivals: Vec<_> = (0..20)
            .map(|rival: u32| {
                let (store, key) = (Arc::clone(store), key.clone());
                tokio::spawn(async move { store.create(&key, rival.to_string().as_bytes()).await })
            })
            .collect();
        let mut winners = Vec::new();
        for (rival, task) in rivals.into_iter().enumerate() {
            if task.await.unwrap().unwrap() == Created::Yes {
                winners.push(rival.to_string());
            }
        }
        assert_eq!(winners.len(), 1, "race {race}");
        let there = store.get(&key).await.unwrap().unwrap();
        assert_eq!(there, winners[0].as_bytes());
    }
}

/// Ascending, cut off at the limit, and nothing of a neighbour whose name begins alike.
async fn lists(store: &dyn StateStore) {
    for key in ["list/state/3", "list/state/1", "list/state/2", "list/lock/1", "list2/state/0"] {
        store.create(key, b"x").await.unwrap();
    }
    let all = ["list/state/1", "list/state/2", "list/state/3"];
    assert_eq!(store.list("list/state/", 10).await.unwrap(), all);
    assert_eq!(store.list("list/state/", 1).await.unwrap(), all[..1]);
    assert_eq!(store.list("list/state/2", 10).await.unwrap(), all[1..2]);
    assert_eq!(store.list("list/", 10).await.unwrap().len(), 4);
    assert_eq!(store.list("nothing/", 10).await.unwrap(), Vec::<String>::new());
    store.delete("list/state/1").await.unwrap();
    assert_eq!(store.list("list/state/", 10).await.unwrap(), all[1..]);
}

/// Any bytes, of any size that a state may have.
async fn bodies(store: &dyn StateStore) {
    let large: Vec<u8> = (0..1_500_000_u32).map(|at| (at % 251) as u8).collect();
    for (key, body) in
        [("body/empty", &b""[..]), ("body/zero", &b"\0\xff\n"[..]), ("body/large", &large)]
    {
        assert_eq!(store.create(key, body).await, Ok(Created::Yes));
        assert_eq!(store.get(key).await.unwrap().as_deref(), Some(body), "{key}");
    }
    for key in ["body/.hidden", "body/a-b_c.d", "body/999999999999.beat"] {
        assert_eq!(store.create(key, b"x").await, Ok(Created::Yes), "{key}");
        assert!(store.list("body/", 100).await.unwrap().iter().any(|found| found == key), "{key}");
    }
}
