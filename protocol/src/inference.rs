//! What a node says of itself about running models: its back ends, on what they run, and the
//! memory that it has for models.

use serde::{Deserialize, Serialize};

use crate::limits::MAX_NAME;

/// Back ends that a node may have.
pub const MAX_BACK_ENDS: usize = 8;

/// Execution providers that a back end may have.
pub const MAX_PROVIDERS: usize = 16;

/// Bytes of the text that says why something cannot be had.
pub const MAX_PROBLEM: usize = 512;

/// How a node runs models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInference {
    /// Bytes that all loaded models may take together.
    pub model_memory: u64,
    /// Those that the node was told to have, in the order in which they are tried.
    pub back_ends: Vec<BackEnd>,
}

/// What loads and runs models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackEnd {
    /// As settings call it: `tract`, `onnxruntime`.
    pub name: String,
    /// Of the library that was found. `None`: built in, or none was found.
    pub version: Option<String>,
    /// Why it cannot be used at all.
    pub problem: Option<String>,
    /// On what it runs models, in the order in which they are tried.
    pub providers: Vec<Provider>,
}

/// An execution provider: what a back end runs models on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// As settings call it: `cpu`, `cuda`.
    pub name: String,
    /// Why it cannot be had. `None`: a model was run on it.
    pub problem: Option<String>,
}

impl NodeInference {
    /// Checks it against its bounds; says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.back_ends.len() > MAX_BACK_ENDS {
            return Err(format!("{} back ends; at most {MAX_BACK_ENDS}", self.back_ends.len()));
        }
        self.back_ends.iter().try_for_each(BackEnd::check)
    }
}

impl NodeInference {
    /// About how many bytes it takes in a message: at least as many as it does.
    pub fn bytes(&self) -> usize {
        /// Numbers, lengths and marks of one struct.
        const REST: usize = 16;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let of_provider = |it: &Provider| REST + it.name.len() + text(&it.problem);
        let of_back_end = |it: &BackEnd| {
            let texts = it.name.len() + text(&it.version) + text(&it.problem);
            REST + texts + it.providers.iter().map(of_provider).sum::<usize>()
        };
        REST + self.back_ends.iter().map(of_back_end).sum::<usize>()
    }
}

impl BackEnd {
    /// Whether models can be run by it.
    pub fn is_usable(&self) -> bool {
        self.problem.is_none() && self.usable().next().is_some()
    }

    /// The providers that can be had, in their order.
    pub fn usable(&self) -> impl Iterator<Item = &Provider> {
        self.providers.iter().filter(|provider| provider.problem.is_none())
    }

    fn check(&self) -> Result<(), String> {
        if self.providers.len() > MAX_PROVIDERS {
            return Err(format!("{} providers; at most {MAX_PROVIDERS}", self.providers.len()));
        }
        let names = self.providers.iter().map(|provider| &provider.name);
        for name in names.chain([&self.name]).chain(&self.version) {
            if !is_line(name, MAX_NAME) || name.is_empty() {
                let name = name.escape_default();
                return Err(format!("`{name}` is not the name or version of a back end"));
            }
        }
        let problems = self.providers.iter().filter_map(|provider| provider.problem.as_ref());
        if !self.problem.iter().chain(problems).all(|text| is_line(text, MAX_PROBLEM)) {
            return Err(format!("a problem is one line of at most {MAX_PROBLEM} bytes"));
        }
        Ok(())
    }
}

fn is_line(text: &str, limit: usize) -> bool {
    text.len() <= limit && !text.contains(char::is_control)
}

/// What a library said of its version, as far as it can be one.
pub fn version(text: &str) -> Option<String> {
    let mut line = problem(text);
    line.truncate(line.floor_char_boundary(MAX_NAME));
    Some(line).filter(|line| !line.is_empty())
}

/// What a library said as one line that is not too long.
pub fn problem(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let mut line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.len() > MAX_PROBLEM {
        line.truncate(line.floor_char_boundary(MAX_PROBLEM - "…".len()));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inference() -> NodeInference {
        let provider = |name: &str, problem: Option<&str>| Provider {
            name: name.to_owned(),
            problem: problem.map(str::to_owned),
        };
        let back_end = BackEnd {
            name: "onnxruntime".to_owned(),
            version: Some("1.27.0".to_owned()),
            problem: None,
            providers: vec![provider("cuda", Some("no driver")), provider("cpu", None)],
        };
        NodeInference { model_memory: 1 << 30, back_ends: vec![back_end] }
    }

    #[test]
    fn a_back_end_is_usable_with_one_provider_and_no_problem() {
        let mut back_end = inference().back_ends.remove(0);
        assert_eq!(back_end.usable().map(|it| &*it.name).collect::<Vec<_>>(), ["cpu"]);
        assert!(back_end.is_usable());
        back_end.providers.pop();
        assert!(!back_end.is_usable());
        let refused =
            BackEnd { problem: Some("too old".to_owned()), ..inference().back_ends.remove(0) };
        assert!(!refused.is_usable());
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        assert_eq!(inference().check(), Ok(()));
        let with = |change: &dyn Fn(&mut BackEnd)| {
            let mut inference = inference();
            inference.back_ends.iter_mut().for_each(change);
            inference.check()
        };
        assert!(with(&|it| it.name.clear()).is_err());
        assert!(with(&|it| it.version = Some("a\nb".to_owned())).is_err());
        assert!(with(&|it| it.problem = Some("\x1b[2J".to_owned())).is_err());
        assert!(with(&|it| it.problem = Some("x".repeat(MAX_PROBLEM + 1))).is_err());
        assert!(with(&|it| it.providers = vec![it.providers[0].clone(); 17]).is_err());
        let many = vec![inference().back_ends.remove(0); MAX_BACK_ENDS + 1];
        assert!(NodeInference { model_memory: 0, back_ends: many }.check().is_err());
    }

    #[test]
    fn what_a_library_says_becomes_one_line() {
        assert_eq!(problem("a\n\tb \x07 c"), "a b c");
        assert_eq!(problem(""), "");
        assert_eq!(version(" 1.27.0\n"), Some("1.27.0".to_owned()));
        assert_eq!((version("\0"), version(&"1".repeat(999)).unwrap().len()), (None, MAX_NAME));
        for text in ["ä".repeat(2000), "long words ".repeat(200), format!("a {}", "x".repeat(600))]
        {
            let line = problem(&text);
            assert!(is_line(&line, MAX_PROBLEM) && line.ends_with('…'), "{line}");
        }
    }
}
