//! Requests about zones ("domains") and their records.

use seachange_core::cloud::{DnsRecordWrite, RecordId};

use super::{Class, Method, Request, segment};
use crate::wire::{self, Body, Envelope};

/// One page of a zone's records.
pub fn records_page(zone: &str, number: u64) -> Request<Envelope<wire::DomainRecord>> {
    Request::page(records_path(zone), number, zone_object(zone))
}

/// Creates a zone.
pub fn create(zone: &str) -> Request<wire::Nothing> {
    Request::new(Method::POST, Class::Once, "/v2/domains".to_owned(), zone_object(zone))
        .sending(Body::DomainCreate(wire::DomainCreate { name: zone.to_owned() }))
}

/// Deletes a zone with its records.
pub fn delete(zone: &str) -> Request<wire::Nothing> {
    Request::delete(format!("/v2/domains/{}", segment(zone)), zone_object(zone))
}

/// Creates a record.
pub fn create_record(zone: &str, record: &DnsRecordWrite) -> Request<Envelope<wire::DomainRecord>> {
    Request::new(Method::POST, Class::Once, records_path(zone), zone_object(zone))
        .sending(Body::DomainRecord(body(record)))
}

/// Replaces a record. The body is the whole record, so twice is harmless.
pub fn update_record(
    zone: &str,
    id: RecordId,
    record: &DnsRecordWrite,
) -> Request<Envelope<wire::DomainRecord>> {
    let (path, object) = (record_path(zone, id), record_object(zone, id));
    Request::new(Method::PUT, Class::Repeatable, path, object)
        .sending(Body::DomainRecord(body(record)))
}

/// Deletes a record.
pub fn delete_record(zone: &str, id: RecordId) -> Request<wire::Nothing> {
    Request::delete(record_path(zone, id), record_object(zone, id))
}

/// Names as data are sent with a trailing dot, else the service takes them as relative to the zone.
fn body(record: &DnsRecordWrite) -> wire::DomainRecordWrite {
    let names_a_host = matches!(record.kind.as_str(), "CNAME" | "MX" | "NS" | "SRV");
    let mut data = record.data.clone();
    if names_a_host && data != "@" && !data.ends_with('.') {
        data.push('.');
    }
    wire::DomainRecordWrite {
        kind: record.kind.clone(),
        name: record.name.clone(),
        data,
        ttl: record.ttl,
    }
}

fn records_path(zone: &str) -> String {
    format!("/v2/domains/{}/records", segment(zone))
}

fn record_path(zone: &str, id: RecordId) -> String {
    format!("{}/{}", records_path(zone), id.0)
}

fn zone_object(zone: &str) -> String {
    format!("zone `{zone}`")
}

fn record_object(zone: &str, id: RecordId) -> String {
    format!("record {} of zone `{zone}`", id.0)
}
