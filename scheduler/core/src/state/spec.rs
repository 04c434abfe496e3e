//! Specifications as jobs hold them: the bytes of an [`EncodedSpec`], as accepted.
//!
//! Jobs that one tenant submits are mostly alike but for a few bytes, an argument or a name.
//! Such a job holds what differs, and shares the rest: with its group, whose jobs ask for the
//! same, or else with one of the tenant's last that was no more different.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use wrun_protocol::job::EncodedSpec;

/// Bytes in which a specification may differ from the one that it shares.
const MIDDLE: usize = 10;
/// Specifications of one tenant that others may share at a time.
const MODELS: usize = 4;

/// A specification that others share.
pub(crate) type Model = Arc<Box<[u8]>>;

/// One specification.
#[derive(Clone, Debug)]
pub(crate) enum Spec {
    /// All of it.
    Whole(Box<[u8]>),
    /// The beginning of the model, the middle, the end of the model.
    Like { model: Model, begin: u16, end: u16, len: u8, middle: [u8; MIDDLE] },
}

/// What a tenant's next specification may be like. Not recorded.
#[derive(Debug, Default)]
pub(crate) struct Models {
    models: [Option<Model>; MODELS],
    next: usize,
}

impl Models {
    /// The specification of a new job, in as little memory as it takes. `of_group` is what
    /// the job before it in its group shares.
    pub(crate) fn hold(&mut self, spec: &[u8], of_group: &mut Option<Model>) -> Spec {
        if u16::try_from(spec.len()).is_err() {
            return Spec::Whole(spec.into());
        }
        if let Some(like) = of_group.as_ref().and_then(|model| like(model, spec)) {
            return like;
        }
        let of_tenant = self.models.iter().flatten().find_map(|model| like(model, spec));
        let held = of_tenant.unwrap_or_else(|| self.begin(spec));
        if let Spec::Like { model, .. } = &held {
            *of_group = Some(Arc::clone(model));
        }
        held
    }

    /// One that is like none: others may share it.
    fn begin(&mut self, spec: &[u8]) -> Spec {
        let model: Model = Arc::new(spec.into());
        if let Some(place) = self.models.get_mut(self.next) {
            *place = Some(Arc::clone(&model));
        }
        self.next = (self.next + 1) % MODELS;
        let begin = model.len() as u16;
        Spec::Like { model, begin, end: 0, len: 0, middle: [0; MIDDLE] }
    }
}

fn like(model: &Model, spec: &[u8]) -> Option<Spec> {
    let begin = model.iter().zip(spec).take_while(|(a, b)| a == b).count();
    let (left, rest) = (model.get(begin..)?, spec.get(begin..)?);
    let end = left.iter().rev().zip(rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let differs = rest.get(..rest.len() - end)?;
    let mut middle = [0; MIDDLE];
    middle.get_mut(..differs.len())?.copy_from_slice(differs);
    let model = Arc::clone(model);
    Some(Spec::Like {
        model,
        begin: u16::try_from(begin).ok()?,
        end: u16::try_from(end).ok()?,
        len: differs.len() as u8,
        middle,
    })
}

impl Spec {
    fn parts(&self) -> [&[u8]; 3] {
        match self {
            Self::Whole(bytes) => [&**bytes, &[], &[]],
            Self::Like { model, begin, end, len, middle } => [
                model.get(..usize::from(*begin)).unwrap_or_default(),
                middle.get(..usize::from(*len)).unwrap_or_default(),
                model.get(model.len() - usize::from(*end)..).unwrap_or_default(),
            ],
        }
    }

    /// As it was accepted.
    pub(crate) fn encoded(&self) -> EncodedSpec {
        EncodedSpec::from_parts(&self.parts())
    }
}

impl Default for Spec {
    fn default() -> Self {
        Self::Whole(Box::default())
    }
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.encoded() == other.encoded()
    }
}

impl Eq for Spec {}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.parts().concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_shared(spec: &Spec) -> bool {
        matches!(spec, Spec::Like { model, .. } if Arc::strong_count(model) > 2)
    }

    #[test]
    fn what_differs_in_a_few_bytes_is_shared_and_reads_back() {
        let mut models = Models::default();
        let texts =
            ["run a 1 end", "run a 2 end", "run a 1234567 end", "run a  end", "run a 1 end"];
        let held = texts.map(|text| models.hold(text.as_bytes(), &mut None));
        for (spec, text) in held.iter().zip(texts) {
            assert_eq!(spec.encoded().as_bytes(), text.as_bytes());
            assert!(is_shared(spec), "{text}");
        }
    }

    #[test]
    fn any_two_texts_read_back() {
        let texts = ["", "a", "aa", "aaa", "aba", "abcdefghijklmnop", "abcdefghijklmnopp", "b"];
        for one in texts {
            for other in texts {
                let mut models = Models::default();
                let held = [one, other].map(|text| models.hold(text.as_bytes(), &mut None));
                let back = held.map(|spec| spec.encoded().as_bytes().to_vec());
                assert_eq!(back, [one.as_bytes(), other.as_bytes()]);
            }
        }
        let long = vec![7; 100_000];
        let held = Models::default().hold(&long, &mut None);
        assert_eq!(held.encoded().as_bytes(), long);
    }

    #[test]
    fn several_kinds_of_jobs_in_turn_are_shared_each_with_its_own() {
        let mut models = Models::default();
        let kinds = ["x".repeat(50), "y".repeat(50), "z".repeat(50)];
        let spec = |number: usize| format!("{}{number}", kinds[number % 3]);
        let held: Vec<Spec> =
            (0..30).map(|number| models.hold(spec(number).as_bytes(), &mut None)).collect();
        assert!(held.iter().all(is_shared));
    }

    #[test]
    fn more_kinds_than_a_tenant_has_models_are_shared_each_in_its_group() {
        let mut models = Models::default();
        let mut of_groups = vec![None; 10 * MODELS];
        let mut held = Vec::new();
        for number in 0..5 {
            for (kind, of_group) in of_groups.iter_mut().enumerate() {
                let text = format!("{}{number}", format!("{kind:02}").repeat(10));
                held.push((models.hold(text.as_bytes(), of_group), text));
            }
        }
        for (spec, text) in &held {
            assert_eq!(spec.encoded().as_bytes(), text.as_bytes());
            assert!(is_shared(spec), "{text}");
        }
    }

    #[test]
    fn a_specification_takes_24_bytes() {
        assert_eq!(size_of::<Spec>(), 24);
    }
}
