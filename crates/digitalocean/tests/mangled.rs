//! The API may answer anything: something is understood, or it is an error; never a panic, and never requests without end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seachange_core::cloud::{Cloud as _, CloudError, DropletId};
use seachange_digitalocean::Client;

use crate::mangle::{each, folder_named};
use crate::server::{TOKEN, answer, serve};

/// Asks what a file of the corpus is the answer to.
async fn ask(client: &Client, name: &str) -> Result<usize, CloudError> {
    let ip = std::net::Ipv4Addr::new(127, 0, 0, 1);
    Ok(match name {
        "droplets" => client.droplets_by_tag("seachange:webgui").await?.len(),
        "droplet" => client.droplet(DropletId(7)).await.map(|_| 1)?,
        "reserved_ips" => client.reserved_ips().await?.len(),
        "reserved_ip" => client.reserved_ip(ip).await.map(|_| 1)?,
        "records" => client.dns_records("gotcha-app.de").await?.len(),
        "sizes" => client.sizes().await?.len(),
        "account" => client.account().await.map(|_| 1)?,
        "key" => client.ssh_key("3b:16").await.map(|_| 1)?,
        "image" => client.base_image("ubuntu-24-04-x64").await.map(|_| 1)?,
        other => panic!("nobody asks for {other}"),
    })
}

#[test]
fn the_api_may_answer_anything() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = Arc::new(Mutex::new(String::new()));
    let said = Arc::clone(&body);
    let server = runtime.block_on(serve(move |_, _| answer(200, said.lock().unwrap().clone())));
    let corpus = folder_named("crates/digitalocean/tests/corpus");
    assert_eq!(corpus.len(), 9);
    for (name, text) in &corpus {
        *body.lock().unwrap() = String::from_utf8(text.clone()).unwrap();
        let understood = runtime.block_on(ask(&server.client(), name));
        assert!(understood.as_ref().is_ok_and(|found| *found > 0), "{name}: {understood:?}");
        each(std::slice::from_ref(text), 150, |bytes| {
            *body.lock().unwrap() = String::from_utf8_lossy(bytes).into_owned();
            let before = server.seen().len();
            let client = server.client();
            let asked =
                async { tokio::time::timeout(Duration::from_secs(20), ask(&client, name)).await };
            let answer = runtime.block_on(asked).expect("it comes to an end");
            assert!(server.seen().len() - before <= 60, "{name}: too many requests");
            if let Err(error) = answer {
                assert!(!format!("{error} {error:?}").contains(TOKEN), "{error:?}");
            }
        });
    }
}
