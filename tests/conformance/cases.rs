//! The cases as the wheel has them: a folder each, with a model, what goes in and what comes out.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::compare;
use crate::onnx::{Signature, Tensor};

/// One case.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub signature: Signature,
    model: Vec<u8>,
    /// In the order of the signature. `None`: of a type that no guest has.
    inputs: Vec<Option<Tensor>>,
    outputs: Vec<Option<Tensor>>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    /// The node said that it cannot do this.
    Refused {
        /// `load` or `compute`.
        step: String,
        text: String,
    },
    /// It gave another result than the case expects.
    Wrong(String),
}

/// All cases in a folder, by name.
pub fn read_all(folder: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("model.onnx").exists());
    folders.sort();
    folders.iter().map(|folder| Case::read(folder)).collect()
}

impl Case {
    fn read(folder: &Path) -> Self {
        let model = std::fs::read(folder.join("model.onnx")).unwrap();
        let signature = Signature::read(&model);
        let set = folder.join("test_data_set_0");
        let other = folder.join("test_data_set_1");
        assert!(!other.exists(), "{}: more than the runner reads", other.display());
        let tensors = |kind: &str| -> Vec<Option<Tensor>> {
            let paths = (0..).map(|number| set.join(format!("{kind}_{number}.pb")));
            paths.take_while(|path| path.exists()).map(|path| Tensor::read(&path)).collect()
        };
        let (inputs, outputs) = (tensors("input"), tensors("output"));
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(outputs.len(), signature.outputs.len(), "{name}: not all outputs are told");
        assert!(inputs.len() <= signature.inputs.len(), "{name}: more inputs than it has");
        Self { name, signature, model, inputs, outputs }
    }

    /// What the guest is given: a line. What no guest can have is left out, and the model is
    /// refused before it is missed.
    pub fn line(&self) -> String {
        let inputs = self.signature.inputs.iter().zip(&self.inputs);
        let inputs: Vec<Value> = inputs
            .filter_map(|(name, tensor)| {
                let tensor = tensor.as_ref()?;
                let element = tensor.wasi_type()?;
                let data = hexadecimal(&tensor.data);
                Some(json!({ "name": name, "element": element, "shape": tensor.shape, "data": data }))
            })
            .collect();
        json!({ "model": hexadecimal(&self.model), "inputs": inputs }).to_string()
    }

    /// What to make of the guest's answer.
    pub fn verdict(&self, answer: &Value) -> Verdict {
        if let Some(refused) = answer.get("refused") {
            let text = |field: &str| refused[field].as_str().unwrap().to_owned();
            return Verdict::Refused { step: text("step"), text: text("text") };
        }
        let given = answer["outputs"].as_array().unwrap();
        if given.len() != self.outputs.len() {
            let (given, right) = (given.len(), self.outputs.len());
            return Verdict::Wrong(format!("it gave {given} outputs, and not {right}"));
        }
        let names = &self.signature.outputs;
        let wrong =
            names.iter().zip(&self.outputs).zip(given).find_map(|((name, right), given)| {
                let problem = wrong(name, right.as_ref(), given)?;
                Some(format!("output `{name}`: {problem}"))
            });
        wrong.map_or(Verdict::Passed, Verdict::Wrong)
    }
}

fn wrong(name: &str, right: Option<&Tensor>, given: &Value) -> Option<String> {
    let text = |field: &str| given[field].as_str().unwrap();
    if text("name") != name {
        return Some(format!("it is called `{}`", text("name")));
    }
    let Some(right) = right else { return Some("no guest can have what is expected".to_owned()) };
    let shape: Vec<u32> = serde_json::from_value(given["shape"].clone()).unwrap();
    compare::difference(right, text("element"), &shape, &bytes(text("data")))
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |number: u8| DIGITS[usize::from(number)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let pairs = hexadecimal.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
