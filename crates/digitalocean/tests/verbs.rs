//! Verbs that are more than one request, and answers that must not be misread.

use seachange_core::cloud::{
    Cloud as _, CloudError, DnsRecordWrite, DropletCreate, DropletId, RecordId,
};
use serde_json::json;

use crate::server::{answer, serve_in_turn};

const GONE: &str = r#"{"id":"not_found","message":"The resource could not be found."}"#;
const IDS: [DropletId; 2] = [DropletId(7), DropletId(8)];

fn tags(names: &[&str]) -> String {
    let tags: Vec<_> = names.iter().map(|name| json!({ "name": name, "resources": {} })).collect();
    json!({ "tags": tags, "meta": { "total": names.len() } }).to_string()
}

#[tokio::test]
async fn a_tag_that_is_there_costs_one_request() {
    let server = serve_in_turn(vec![answer(204, "")]).await;
    assert_eq!(server.client().tag_droplets("PROD", &IDS).await, Ok(()));
    assert_eq!(server.lines(), ["POST /v2/tags/PROD/resources"]);
    let resource = |id: &str| json!({ "resource_id": id, "resource_type": "droplet" });
    assert_eq!(server.seen()[0].body, json!({ "resources": [resource("7"), resource("8")] }));
}

#[tokio::test]
async fn a_tag_in_another_spelling_is_used_in_that_spelling_and_remembered() {
    let created = json!({ "tag": { "name": "prod", "resources": {} } }).to_string();
    let replies = vec![
        answer(404, GONE),
        answer(201, created),
        answer(204, ""),
        answer(204, ""),
        answer(204, ""),
    ];
    let server = serve_in_turn(replies).await;
    let client = server.client();
    assert_eq!(client.tag_droplets("PROD", &IDS).await, Ok(()));
    assert_eq!(client.tag_droplets("PROD", &IDS).await, Ok(()));
    assert_eq!(client.untag_droplets("Prod", &IDS).await, Ok(()));
    assert_eq!(
        server.lines(),
        [
            "POST /v2/tags/PROD/resources",
            "POST /v2/tags",
            "POST /v2/tags/prod/resources",
            "POST /v2/tags/prod/resources",
            "DELETE /v2/tags/prod/resources",
        ]
    );
    assert_eq!(server.seen()[1].body, json!({ "name": "PROD" }));
}

#[tokio::test]
async fn tagging_a_droplet_that_is_gone_is_not_success() {
    let created = json!({ "tag": { "name": "PROD" } }).to_string();
    let replies = vec![answer(404, GONE), answer(201, created), answer(404, GONE)];
    let server = serve_in_turn(replies).await;
    let error = server.client().tag_droplets("PROD", &IDS).await.unwrap_err();
    assert!(matches!(error, CloudError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn untagging_tells_a_missing_tag_from_another_spelling() {
    let replies = vec![answer(404, GONE), answer(200, tags(&["other"]))];
    let server = serve_in_turn(replies).await;
    assert_eq!(server.client().untag_droplets("PROD", &IDS).await, Ok(()));

    let replies = vec![
        answer(404, GONE),
        answer(200, tags(&["other", "prod"])),
        answer(404, GONE),
        answer(204, ""),
    ];
    let server = serve_in_turn(replies).await;
    assert_eq!(server.client().untag_droplets("PROD", &IDS).await, Ok(()));
    let lines = server.lines();
    assert_eq!(lines[2..], ["DELETE /v2/tags/prod/resources"; 2]);
    assert_eq!(server.seen()[3].body["resources"][0]["resource_id"], "8");
}

#[tokio::test]
async fn deleting_a_tag_finds_its_spelling() {
    let replies = vec![answer(404, GONE), answer(200, tags(&["prod"])), answer(204, "")];
    let server = serve_in_turn(replies).await;
    assert_eq!(server.client().delete_tag("PROD").await, Ok(()));
    assert_eq!(server.lines()[2], "DELETE /v2/tags/prod");

    let server = serve_in_turn(vec![answer(404, GONE), answer(200, tags(&[]))]).await;
    assert_eq!(server.client().delete_tag("PROD").await, Ok(()));
}

#[tokio::test]
async fn nothing_to_tag_is_no_request() {
    let server = serve_in_turn(Vec::new()).await;
    let client = server.client();
    assert_eq!(client.tag_droplets("PROD", &[]).await, Ok(()));
    assert_eq!(client.untag_droplets("PROD", &[]).await, Ok(()));
    assert_eq!(client.requests_sent(), 0);
}

#[tokio::test]
async fn a_target_that_was_left_out_is_not_no_target() {
    let ip = [192, 0, 2, 1].into();
    let read = |droplet: &str| {
        let body = format!(r#"{{"reserved_ip":{{"ip":"192.0.2.1"{droplet}}}}}"#);
        async move { serve_in_turn(vec![answer(200, body)]).await.client().reserved_ip(ip).await }
    };
    assert_eq!(read(r#","droplet":null"#).await.unwrap().droplet, None);
    let pointing = read(r#","droplet":{"id":7,"name":"a"},"locked":true"#).await.unwrap();
    assert_eq!((pointing.droplet, pointing.locked), (Some(DropletId(7)), true));
    let error = read("").await.unwrap_err();
    assert!(matches!(error, CloudError::Forbidden { .. }), "{error:?}");
}

#[tokio::test]
async fn one_name_is_sent_as_name_and_more_as_names() {
    let droplet = |id: u64| {
        json!({ "id": id, "name": format!("a{id}"), "status": "new",
            "created_at": "2020-07-21T18:37:44Z" })
    };
    let replies = vec![
        answer(202, json!({ "droplet": droplet(1), "links": {} }).to_string()),
        answer(202, json!({ "droplets": [droplet(1), droplet(2)], "links": {} }).to_string()),
    ];
    let server = serve_in_turn(replies).await;
    let client = server.client();
    let create = |count: usize| DropletCreate {
        names: (1..=count).map(|number| format!("a{number}")).collect(),
        region: "fra1".to_owned(),
        size: "s".to_owned(),
        image: "i".to_owned(),
        ssh_keys: Vec::new(),
        tags: Vec::new(),
        user_data: None,
    };
    assert_eq!(client.create_droplets(&create(1)).await.unwrap().len(), 1);
    assert_eq!(client.create_droplets(&create(2)).await.unwrap().len(), 2);
    let seen = server.seen();
    assert_eq!((&seen[0].body["name"], seen[0].body.get("names")), (&json!("a1"), None));
    assert_eq!((seen[1].body.get("name"), &seen[1].body["names"]), (None, &json!(["a1", "a2"])));
    for count in [0, 11] {
        let error = client.create_droplets(&create(count)).await.unwrap_err();
        assert!(matches!(error, CloudError::Invalid { .. }), "{error:?}");
    }
    assert_eq!(client.requests_sent(), 2);
}

#[tokio::test]
async fn a_host_name_as_data_travels_with_a_dot_and_comes_back_without() {
    let stored = json!({ "domain_record": { "id": 5, "type": "CNAME", "name": "www",
        "data": "a.example", "priority": null, "ttl": 300 } });
    let server = serve_in_turn(vec![answer(200, stored.to_string())]).await;
    let record = DnsRecordWrite {
        kind: "CNAME".to_owned(),
        name: "www".to_owned(),
        data: "a.example".to_owned(),
        ttl: 300,
    };
    let read = server.client().update_dns_record("z.example", RecordId(5), &record).await.unwrap();
    assert_eq!(read.data, "a.example");
    assert_eq!(server.lines(), ["PUT /v2/domains/z.example/records/5"]);
    assert_eq!(server.seen()[0].body["data"], "a.example.");
}
