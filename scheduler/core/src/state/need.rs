//! What a group's tasks ask of a node: one of several requests, in order of preference,
//! and labels that it carries or does not.

use std::collections::BTreeMap;

use wrun_protocol::Resources;
use wrun_protocol::scheduling::{Arrangement, Devices, Offer, Request};

use super::groups::GroupKey;
use super::stock::could_serve;

/// A request, by reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need<'a> {
    /// Its number: 0 is the job's own, then the alternatives.
    pub(crate) number: u8,
    pub(crate) resources: &'a Resources,
    /// `None` asks for none.
    pub(crate) devices: Option<&'a Devices>,
}

impl GroupKey {
    /// Every request, the preferred first.
    pub(crate) fn needs(&self) -> impl Iterator<Item = Need<'_>> {
        let wishes = self.wishes.as_deref();
        let devices = wishes.map(|wishes| &wishes.devices).filter(|devices| !devices.is_empty());
        let own = Need { number: 0, resources: &self.wanted, devices };
        let others = wishes.map_or(&[][..], |wishes| &wishes.alternatives);
        let others = others.iter().zip(1..).map(|(request, number)| Need {
            number,
            resources: &request.resources,
            devices: Some(&request.devices).filter(|devices| !devices.is_empty()),
        });
        std::iter::once(own).chain(others)
    }

    /// One of them.
    pub(crate) fn request(&self, number: u8) -> Option<Request> {
        let need = self.needs().nth(number.into())?;
        let devices = need.devices.cloned().unwrap_or_default();
        Some(Request { resources: *need.resources, devices })
    }

    /// Whether the tasks are told what they hold: they have devices, or a choice.
    pub(crate) fn needs_grant(&self) -> bool {
        self.wishes
            .as_ref()
            .is_some_and(|wishes| !wishes.devices.is_empty() || !wishes.alternatives.is_empty())
    }

    /// No task takes less of anything.
    pub(crate) fn least(&self) -> Resources {
        self.needs().map(|need| *need.resources).reduce(least).unwrap_or_default()
    }

    pub(crate) fn arrangement(&self) -> Arrangement {
        self.wishes.as_ref().map_or(Arrangement::Spread, |wishes| wishes.arrangement)
    }

    /// Whether the node carries what it must and nothing that it must not.
    pub(crate) fn allows(&self, labels: &BTreeMap<String, String>) -> bool {
        let carries = |(label, value): (&String, &String)| labels.get(label) == Some(value);
        let refused = self.wishes.as_ref().map(|wishes| &wishes.refused_labels);
        self.labels.iter().all(carries) && !refused.is_some_and(|all| all.iter().any(carries))
    }

    /// Whether there is no label that a node must not carry.
    pub(crate) fn refuses_nothing(&self) -> bool {
        self.wishes.as_ref().is_none_or(|wishes| wishes.refused_labels.is_empty())
    }

    /// Whether a node of that size that it may go to could hold a task if it were empty.
    pub(crate) fn fits(&self, capacity: &Resources, offer: &Offer) -> bool {
        self.needs().any(|need| {
            capacity.covers(need.resources)
                && need.devices.is_none_or(|devices| could_serve(offer, devices))
        })
    }
}

/// Whether any of the devices are a node's, and not slots of pools alone.
pub(crate) fn of_nodes(devices: &Devices) -> bool {
    devices.gpu.is_some() || !devices.named.is_empty()
}

fn least(one: Resources, other: Resources) -> Resources {
    Resources {
        cpu_milli: one.cpu_milli.min(other.cpu_milli),
        memory: one.memory.min(other.memory),
        scratch: one.scratch.min(other.scratch),
        slots: one.slots.min(other.slots),
    }
}
