//! Every verb against DigitalOcean's own file: what is sent is what the file takes, and the file's own answers are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use seachange_core::cloud::{
    ActionId, Cloud as _, DnsRecordWrite, DropletCreate, DropletId, RecordId, SshKeyId,
};
use seachange_core::secret::Secret;
use seachange_digitalocean::wire::{self, Envelope};
use serde_json::{Value, json};

use crate::openapi::{Contract, Example, load};
use crate::server::{Reply, Seen, answer, serve};

/// Answers the file has no example for.
fn own_examples() -> Vec<(&'static str, &'static str, u16, Value)> {
    let key = json!({ "ssh_key": { "id": 1, "name": "a", "fingerprint": "3b:16",
        "public_key": "ssh-ed25519 AAAA" } });
    let account = json!({ "account": { "droplet_limit": 25, "floating_ip_limit": 5,
        "email": "a@example.com", "uuid": "u", "email_verified": true, "status": "active",
        "status_message": "" } });
    vec![
        ("GET", "/v2/account", 200, account),
        ("GET", "/v2/account/keys/{ssh_key_identifier}", 200, key.clone()),
        ("POST", "/v2/account/keys", 201, key),
    ]
}

/// The file's own successful answers, by method and template. Lists are cut down to one page.
fn answers(contract: &Contract) -> BTreeMap<(String, String), (u16, Value)> {
    let mut answers = BTreeMap::new();
    for (method, template, status, body) in own_examples() {
        assert_eq!(contract.response(method, template, status).check(&body), Ok(()));
        answers.insert((method.to_owned(), template.to_owned()), (status, body));
    }
    for Example { method, template, status, mut body, .. } in contract.examples() {
        if !(200..300).contains(&status) {
            continue;
        }
        if body.get("meta").is_some() {
            body["links"] = json!({});
            let held = body.as_object().into_iter().flatten().find_map(|(_, list)| list.as_array());
            body["meta"]["total"] = json!(held.map_or(0, Vec::len));
        }
        answers.insert((method, template), (status, body));
    }
    answers
}

#[tokio::test]
async fn every_verb_sends_what_the_file_takes_and_reads_what_it_answers() {
    let Some(contract) = load() else { return };
    let contract = Arc::new(contract);
    let answers = answers(&contract);
    let faults = Arc::new(Mutex::new(Vec::new()));
    let operations = Arc::new(Mutex::new(BTreeSet::new()));
    let server = serve({
        let (contract, faults) = (Arc::clone(&contract), Arc::clone(&faults));
        let operations = Arc::clone(&operations);
        move |_, seen| {
            let (template, found) = judge(&contract, seen);
            faults.lock().unwrap().extend(found);
            operations.lock().unwrap().insert(format!("{} {template}", seen.method));
            reply(&answers, &seen.method, template)
        }
    })
    .await;

    let client = server.client();
    let (droplet, ip) = (DropletId(7), [192, 0, 2, 1].into());
    let create = |count: usize| DropletCreate {
        names: (1..=count).map(|number| format!("worker-{number}")).collect(),
        region: "fra1".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: "ubuntu-24-04-x64".to_owned(),
        ssh_keys: vec!["3b:16:bf".to_owned()],
        tags: vec!["seachange:demo".to_owned()],
        user_data: Some(Secret::new("#cloud-config\n")),
    };
    let record = |kind: &str, data: &str| DnsRecordWrite {
        kind: kind.to_owned(),
        name: "www".to_owned(),
        data: data.to_owned(),
        ttl: 300,
    };
    let zone = "gotcha-app.de";

    assert!(!client.droplets_by_tag("seachange:demo").await.unwrap().is_empty());
    client.droplet(droplet).await.unwrap();
    client.create_droplets(&create(1)).await.unwrap();
    client.create_droplets(&create(10)).await.unwrap();
    client.delete_droplet(droplet).await.unwrap();
    client.tag_droplets("PROD", &[droplet]).await.unwrap();
    client.untag_droplets("PROD", &[droplet]).await.unwrap();
    client.delete_tag("PROD").await.unwrap();
    assert!(!client.reserved_ips().await.unwrap().is_empty());
    client.reserved_ip(ip).await.unwrap();
    client.create_reserved_ip(droplet).await.unwrap();
    client.assign_reserved_ip(ip, droplet).await.unwrap();
    client.reserved_ip_action(ip, ActionId(1)).await.unwrap();
    client.delete_reserved_ip(ip).await.unwrap();
    assert!(!client.dns_records(zone).await.unwrap().is_empty());
    client.create_zone(zone).await.unwrap();
    client.delete_zone(zone).await.unwrap();
    for (kind, data) in [("A", "192.0.2.1"), ("CNAME", "a.example"), ("TXT", "text")] {
        client.create_dns_record(zone, &record(kind, data)).await.unwrap();
        client.update_dns_record(zone, RecordId(1), &record(kind, data)).await.unwrap();
    }
    client.delete_dns_record(zone, RecordId(1)).await.unwrap();
    client.ssh_key("3b:16:bf").await.unwrap();
    client.create_ssh_key("a", "ssh-ed25519 AAAA").await.unwrap();
    client.delete_ssh_key(SshKeyId(1)).await.unwrap();
    assert!(!client.sizes().await.unwrap().is_empty());
    client.base_image("ubuntu-24-04-x64").await.unwrap();
    client.account().await.unwrap();

    assert_eq!(*faults.lock().unwrap(), Vec::<String>::new());
    assert_eq!(operations.lock().unwrap().len(), 25, "{:?}", operations.lock().unwrap());
}

/// The template of a request and everything that is wrong with it.
fn judge<'a>(contract: &'a Contract, seen: &Seen) -> (&'a str, Vec<String>) {
    let mut faults = contract.request(&seen.method, &seen.target).check(&seen.body).err();
    let allowed = contract.query_parameters(&seen.method, &seen.target);
    let query = seen.target.split_once('?').map_or("", |(_, query)| query);
    for name in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        if !allowed.iter().any(|allowed| allowed == name) {
            faults.get_or_insert_default().push(format!("{}: query {name}", seen.target));
        }
    }
    (contract.template(&seen.method, &seen.target), faults.unwrap_or_default())
}

fn reply(
    answers: &BTreeMap<(String, String), (u16, Value)>,
    method: &str,
    template: &str,
) -> Reply {
    match answers.get(&(method.to_owned(), template.to_owned())) {
        Some((status, body)) => answer(*status, body.to_string()),
        None => answer(204, ""),
    }
}

#[test]
fn every_example_of_an_answer_that_is_used_can_be_read() {
    let Some(contract) = load() else { return };
    let mut read = 0;
    for Example { method, template, status, name, body } in contract.examples() {
        if !(200..300).contains(&status) {
            continue;
        }
        let text = body.to_string();
        let outcome = match template.as_str() {
            "/v2/droplets" | "/v2/droplets/{droplet_id}" => whole::<wire::Droplet>(&text),
            "/v2/reserved_ips" | "/v2/reserved_ips/{reserved_ip}" => {
                whole::<wire::ReservedIp>(&text)
            }
            "/v2/reserved_ips/{reserved_ip}/actions"
            | "/v2/reserved_ips/{reserved_ip}/actions/{action_id}"
            | "/v2/droplets/{droplet_id}/actions/{action_id}"
            | "/v2/actions/{action_id}" => whole::<wire::Action>(&text),
            "/v2/domains/{domain_name}/records"
            | "/v2/domains/{domain_name}/records/{domain_record_id}" => {
                whole::<wire::DomainRecord>(&text)
            }
            "/v2/tags" => whole::<wire::Tag>(&text),
            "/v2/account/keys" => whole::<wire::SshKey>(&text),
            "/v2/sizes" => whole::<wire::Size>(&text),
            "/v2/images" | "/v2/images/{image_id}" => whole::<wire::Image>(&text),
            _ => continue,
        };
        read += 1;
        assert_eq!(outcome, Ok(()), "{method} {template} {name}");
    }
    assert!(read >= 20, "only {read} examples were read");
}

/// Reads an envelope and finds its content under one of its root keys.
fn whole<T: wire::Item + serde::de::DeserializeOwned>(text: &str) -> Result<(), String> {
    let envelope: Envelope<T> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match (envelope.one, envelope.many) {
        (None, None) => Err(format!("neither `{}` nor `{}`", T::ONE, T::MANY)),
        _ => Ok(()),
    }
}
