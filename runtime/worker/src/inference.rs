//! What this node runs models with, as its labels tell: jobs that want a library or a device ask
//! for it as for any label.

use std::collections::BTreeMap;

use wrun_protocol::inference::NodeInference;

/// What the labels begin with that a node gives itself, and no operator may.
pub const OWN_LABELS: &str = "nn.";

/// The value of a label that says that something is there.
const THERE: &str = "yes";

/// `nn.onnxruntime = VERSION`, and `nn.provider.NAME = yes` for each that models were run on;
/// `nn.tract = yes`, since what is part of wrun has no version of its own.
pub(crate) fn labels(inference: &NodeInference) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for back_end in inference.back_ends.iter().filter(|back_end| back_end.is_usable()) {
        let label = format!("{OWN_LABELS}{}", back_end.name);
        let Some(version) = &back_end.version else {
            labels.insert(label, THERE.to_owned());
            continue;
        };
        labels.insert(label, version.clone());
        let providers = back_end.usable().map(|provider| &provider.name);
        let label = |name| (format!("{OWN_LABELS}provider.{name}"), THERE.to_owned());
        labels.extend(providers.map(label));
    }
    labels
}

#[cfg(test)]
mod tests {
    use wrun_protocol::inference::{BackEnd, Provider};

    use super::*;

    #[test]
    fn a_library_and_the_providers_that_can_be_had_are_labels() {
        let provider = |name: &str, problem: Option<&str>| Provider {
            name: name.to_owned(),
            problem: problem.map(str::to_owned),
        };
        let back_end = |name: &str, version: Option<&str>, problem: Option<&str>| BackEnd {
            name: name.to_owned(),
            version: version.map(str::to_owned),
            problem: problem.map(str::to_owned),
            providers: vec![provider("cuda", Some("no driver")), provider("cpu", None)],
        };
        let of = |back_ends| labels(&NodeInference { model_memory: 0, back_ends });
        let both =
            vec![back_end("onnxruntime", Some("1.27.0"), None), back_end("tract", None, None)];
        let labels = of(both).into_iter().collect::<Vec<_>>();
        let expected =
            [("nn.onnxruntime", "1.27.0"), ("nn.provider.cpu", "yes"), ("nn.tract", "yes")];
        assert_eq!(labels, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert!(of(vec![back_end("onnxruntime", Some("1.2.0"), Some("too old"))]).is_empty());
        assert_eq!(of(vec![back_end("tract", None, None)]).len(), 1);
    }
}
