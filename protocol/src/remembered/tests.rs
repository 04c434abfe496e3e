use bytes::Bytes;

use super::*;
use crate::job::{HostGrant, Mount};
use crate::scheduling::{GpuRequest, Request};

/// Not SHA-256: enough to tell texts apart, and the same everywhere.
fn hash(bytes: &[u8]) -> Digest {
    let mut state = [0xcbf2_9ce4_8422_2325_u64; 4];
    for (index, byte) in bytes.iter().enumerate() {
        for (lane, word) in state.iter_mut().enumerate() {
            *word = (*word ^ (u64::from(*byte) + (index as u64) * (lane as u64)))
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(lane as u32 + 1);
        }
    }
    let mut digest = [0; 32];
    for (part, word) in digest.chunks_exact_mut(8).zip(state) {
        part.copy_from_slice(&word.to_le_bytes());
    }
    Digest(digest)
}

fn spec() -> JobSpec {
    let mut spec = JobSpec::new(Digest([7; 32]));
    spec.args = vec!["a".to_owned(), "b".to_owned()];
    spec.env = vec![("K".to_owned(), "v".to_owned())];
    spec.input = Input::Content(Content::Inline(Bytes::from_static(b"in")));
    spec.mounts = vec![mount("/b", 2), mount("/a", 1)];
    spec.count = 3;
    spec.scheduling.cache = true;
    spec
}

fn mount(path: &str, digest: u8) -> Mount {
    Mount { path: path.to_owned(), digest: Digest([digest; 32]), size: 1 }
}

fn key_of(tenant: &str, kind: ComponentKind, spec: &JobSpec) -> Digest {
    Keys::new(&tenant.parse().unwrap(), kind, spec, hash).of_task(1)
}

fn key(change: impl FnOnce(&mut JobSpec)) -> Digest {
    let mut spec = spec();
    change(&mut spec);
    key_of("lab", ComponentKind::Command, &spec)
}

/// What is changed, and how.
type Change = (&'static str, fn(&mut JobSpec));

#[test]
fn a_key_is_the_same_for_ever() {
    // Changing it forgets every result that is remembered anywhere.
    assert_eq!(key(|_| {}).to_string(), include_str!("golden.txt").trim());
}

#[test]
fn whatever_a_task_can_observe_changes_its_key() {
    let before = key(|_| {});
    let changes: [Change; 15] = [
        ("component", |spec| spec.component = Digest([8; 32])),
        ("an argument", |spec| spec.args[1] = "c".to_owned()),
        ("arguments joined", |spec| spec.args = vec!["ab".to_owned()]),
        ("a variable", |spec| spec.env[0].1 = "w".to_owned()),
        ("input", |spec| spec.input = Input::Content(Content::Inline(Bytes::from_static(b"on")))),
        ("no input", |spec| spec.input = Input::Empty),
        ("a mounted file", |spec| spec.mounts[0].digest = Digest([9; 32])),
        ("where it is mounted", |spec| spec.mounts[0].path = "/c".to_owned()),
        ("count", |spec| spec.count = 4),
        ("memory", |spec| spec.resources.memory += 1),
        ("scratch", |spec| spec.resources.scratch += 1),
        ("time limit", |spec| spec.limits.wall_ms = Some(5)),
        ("CPU time limit", |spec| spec.limits.cpu_ms = Some(5)),
        ("output limit", |spec| spec.limits.output_bytes += 1),
        ("handles", |spec| spec.limits.handles += 1),
    ];
    for (what, change) in changes {
        assert_ne!(key(change), before, "{what}");
    }
    assert_ne!(key_of("other", ComponentKind::Command, &spec()), before, "tenant");
    assert_ne!(key_of("lab", ComponentKind::Handler, &spec()), before, "interface");
    let keys = Keys::new(&"lab".parse().unwrap(), ComponentKind::Command, &spec(), hash);
    assert_ne!(keys.of_task(2), before, "index");
}

#[test]
fn a_limit_of_time_changes_the_key_and_leaves_randomness_as_it_is() {
    let seed = |spec: &JobSpec| {
        let tenant = "lab".parse().unwrap();
        Keys::new(&tenant, ComponentKind::Command, spec, hash).seed_of(1)
    };
    let (before, mut other) = (spec(), spec());
    other.limits.wall_ms = Some(5);
    assert_eq!(seed(&before), seed(&other));
    other.args.push("c".to_owned());
    assert_ne!(seed(&before), seed(&other));
}

#[test]
fn what_a_task_cannot_observe_leaves_its_key_as_it_is() {
    let before = key(|_| {});
    let changes: [Change; 7] = [
        ("name", |spec| spec.name = "again".to_owned()),
        ("order of mounts", |spec| spec.mounts.reverse()),
        ("priority", |spec| spec.priority = 9),
        ("share of a CPU", |spec| spec.resources.cpu_milli = 500),
        ("retries", |spec| spec.retry.retries = 3),
        ("partition", |spec| spec.scheduling.partition = Some("night".to_owned())),
        ("how the input travels", |spec| {
            let digest = hash(b"in");
            spec.input = Input::Content(Content::Blob { digest, size: 2 });
        }),
    ];
    for (what, change) in changes {
        assert_eq!(key(change), before, "{what}");
    }
}

#[test]
fn what_observes_the_outside_is_refused_by_its_name() {
    fn refused(change: impl FnOnce(&mut JobSpec)) -> String {
        let mut spec = JobSpec::new(Digest([7; 32]));
        spec.scheduling.cache = true;
        change(&mut spec);
        match spec.check() {
            Err(SpecError::Field { field, .. }) => field.to_owned(),
            other => format!("{other:?}"),
        }
    }
    let host = || HostGrant { host: "example.com".to_owned(), port: None };
    let gpu = || GpuRequest { milli: 500, memory: 0, models: Vec::new() };
    assert_eq!(refused(|spec| spec.network.push(host())), "network");
    assert_eq!(refused(|spec| spec.input = Input::Attached), "input");
    assert_eq!(refused(|spec| spec.scheduling.gang = true), "gang");
    assert_eq!(refused(|spec| spec.scheduling.devices.gpu = Some(gpu())), "gpu");
    let named = |spec: &mut JobSpec| {
        spec.scheduling.devices.named.insert("dongle".to_owned(), 1);
    };
    assert_eq!(refused(named), "resources");
    let other = |spec: &mut JobSpec| spec.scheduling.alternatives.push(Request::default());
    assert_eq!(refused(other), "alternatives");
    assert_eq!(refused(|spec| spec.count = MAX_REMEMBERED + 1), "count");
    assert_eq!(refused(|_| {}), "Ok(())");
}
