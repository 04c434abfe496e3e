//! A policy as a file that can be edited and set again. Everything that is as in a new
//! cluster is written too: who reads it sees all there is to set.

use std::collections::BTreeSet;

use serde::Serialize;
use toml::{Table, Value};
use wrun_protocol::policy::{Limits, Partition, Policy, Qos, TenantPolicy};

/// The policy in TOML.
pub(crate) fn show(policy: &Policy) -> String {
    let mut top = Table::new();
    put(&mut top, "order", policy.order);
    put_if(&mut top, "fill_order", policy.fill_order);
    put_if(&mut top, "age_bound", policy.age_bound_ms.map(span));
    let mut balance = Table::new();
    put(&mut balance, "patience", span(policy.balance.patience_ms));
    put(&mut balance, "full_area", span(policy.balance.full_area_ms));
    put(&mut top, "balance", balance);
    put(&mut top, "max_age", span(policy.max_age_ms));
    put(&mut top, "favour", policy.favour);
    put(&mut top, "half_life", span(policy.half_life_ms));
    put(&mut top, "weights", policy.weights);
    let mut charge = Table::new();
    put(&mut charge, "cpu", units(policy.charge.cpu.into()));
    put(&mut charge, "memory_gib", units(policy.charge.memory_gib.into()));
    put(&mut charge, "gpu", units(policy.charge.gpu.into()));
    put(&mut top, "charge", charge);
    let mut backfill = Table::new();
    put(&mut backfill, "mode", policy.backfill.mode);
    put(&mut backfill, "promises", policy.backfill.promises);
    put(&mut backfill, "headroom", f64::from(policy.backfill.headroom) / 1e6);
    put(&mut backfill, "short", span(policy.backfill.short_ms));
    put(&mut backfill, "depth", policy.backfill.depth);
    put(&mut backfill, "default_time", span(policy.backfill.default_time_ms));
    put(&mut backfill, "predict", policy.backfill.predict);
    put(&mut top, "backfill", backfill);
    let mut preemption = Table::new();
    put(&mut preemption, "notice", span(policy.preemption.notice_ms));
    put(&mut preemption, "max_frozen", span(policy.preemption.max_frozen_ms));
    put(&mut top, "preemption", preemption);
    put(&mut top, "pools", &policy.pools);
    let named = |tables: Vec<(String, Table)>| tables.into_iter().collect::<TableOfTables>();
    put(&mut top, "partition", named(policy.partitions.iter().map(partition).collect()));
    put(&mut top, "qos", named(policy.qos.iter().map(qos).collect()));
    put(&mut top, "tenant", named(policy.tenants.iter().map(tenant).collect()));
    top.retain(|_, value| !value.as_table().is_some_and(Table::is_empty));
    toml::to_string(&top).unwrap_or_default()
}

type TableOfTables = std::collections::BTreeMap<String, Table>;

fn partition(of: &Partition) -> (String, Table) {
    let mut table = Table::new();
    put_set(&mut table, "nodes", &of.nodes);
    if !of.labels.is_empty() {
        put(&mut table, "labels", &of.labels);
    }
    put(&mut table, "default", of.default);
    put(&mut table, "priority", of.priority);
    put(&mut table, "preempts", of.preempts);
    put_set(&mut table, "tenants", &of.tenants);
    put_if(&mut table, "max_time", of.max_time_ms.map(span));
    put_limits(&mut table, "limits", &of.limits);
    (of.name.clone(), table)
}

fn qos(of: &Qos) -> (String, Table) {
    let mut table = Table::new();
    put(&mut table, "priority", of.priority);
    put_set(&mut table, "preempts", &of.preempts);
    put_set(&mut table, "tenants", &of.tenants);
    put_if(&mut table, "max_time", of.max_time_ms.map(span));
    put_limits(&mut table, "tenant_limits", &of.tenant_limits);
    put_limits(&mut table, "limits", &of.limits);
    put(&mut table, "exempt", of.exempt);
    (of.name.clone(), table)
}

fn tenant(of: &TenantPolicy) -> (String, Table) {
    let mut table = Table::new();
    put_if(&mut table, "parent", of.parent.as_ref());
    put(&mut table, "shares", of.shares);
    put_if(&mut table, "default_qos", of.default_qos.as_ref());
    put_limits(&mut table, "limits", &of.limits);
    (of.name.to_string(), table)
}

fn put_limits(table: &mut Table, key: &str, limits: &Limits) {
    let mut bounds = Table::new();
    put_if(&mut bounds, "queued", limits.queued);
    put_if(&mut bounds, "running", limits.running);
    put_if(&mut bounds, "cpu", limits.cpu_milli.map(units));
    put_if(&mut bounds, "memory", limits.memory.map(|bytes| bytes.to_string()));
    put_if(&mut bounds, "gpu", limits.gpu_milli.map(units));
    if !bounds.is_empty() {
        put(table, key, bounds);
    }
}

fn put_set<T: Serialize>(table: &mut Table, key: &str, names: &BTreeSet<T>) {
    if !names.is_empty() {
        put(table, key, names);
    }
}

fn put_if<T: Serialize>(table: &mut Table, key: &str, value: Option<T>) {
    if let Some(value) = value {
        put(table, key, value);
    }
}

/// Every value here has a form in TOML.
fn put<T: Serialize>(table: &mut Table, key: &str, value: T) {
    if let Ok(value) = Value::try_from(value) {
        table.insert(key.to_owned(), value);
    }
}

/// Thousandths as units.
fn units(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

/// Milliseconds in the largest units that hold them exactly.
fn span(ms: u64) -> String {
    let mut left = ms;
    let mut text = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if left >= length {
            text += &format!("{}{unit}", left / length);
            left %= length;
        }
    }
    if left > 0 || text.is_empty() {
        text += &format!("{left}ms");
    }
    text
}
