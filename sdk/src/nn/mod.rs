//! Inference: models that the node runs, shared with all other tasks that use them. Tasks,
//! programs (`fn main`) and services use it alike.
//!
//! A job names the models that it uses (`wrun submit --model digits …`, after
//! `wrun model push digits digits.onnx`); its guests load them by that name:
//!
//! ```
//! use wrun_sdk::nn::{Error, Model, Tensor};
//!
//! fn digit(pixels: &[f32]) -> Result<usize, Error> {
//!     let model = Model::load("digits")?;
//!     let outputs = model.run([("image", Tensor::new(&[1, 1, 28, 28], pixels)?)])?;
//!     Ok(outputs.get("scores")?.argmax::<f32>()?)
//! }
//!
//! // Outside a cluster a test says what the model answers.
//! wrun_sdk::nn::testing::answer_models(|name, inputs| {
//!     assert_eq!((name, inputs.get("image")?.shape()), ("digits", &[1, 1, 28, 28][..]));
//!     Ok(vec![("scores".to_owned(), Tensor::new(&[1, 3], &[0.1_f32, 0.7, 0.2])?)])
//! });
//! assert_eq!(digit(&[0.0; 784]).unwrap(), 1);
//! ```
//!
//! A task that waits for a result holds no CPU, and what it computes may be merged with what others
//! compute with the same model. Loading a model again costs next to nothing while the node
//! has it.

mod error;
mod tensor;

#[cfg(not(target_family = "wasm"))]
#[path = "host.rs"]
mod platform;
#[cfg(target_family = "wasm")]
#[path = "guest.rs"]
mod platform;

#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use error::{Error, ErrorCode};
pub use tensor::{Bf16, Element, ElementType, F16, Tensor};

/// On what a model that a guest brings itself runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The node's processor.
    #[default]
    Cpu,
    /// A GPU, or not at all.
    Gpu,
}

/// A model that is loaded.
pub struct Model(platform::Loaded);

/// Tensors by name: what a model was given, or what it gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors(Vec<(String, Tensor)>);

impl Model {
    /// Loads a model that the job names.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`]: the job does not name it, or it was removed. Any other: the node cannot
    /// load it; the text says why.
    pub fn load(name: &str) -> Result<Self, Error> {
        platform::load_by_name(name).map(Self)
    }

    /// Loads a model from the bytes of an ONNX file. The job has to allow it with `load_models =
    /// true`; the model is this guest's alone, and its bytes count as memory of the task.
    ///
    /// # Errors
    /// [`ErrorCode::Security`]: the job does not allow it. Any other: the node cannot load it; the
    /// text says why.
    pub fn from_onnx(bytes: &[u8], target: Target) -> Result<Self, Error> {
        platform::load(bytes, target).map(Self)
    }

    /// Runs it. Waits for the result without holding a CPU.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidArgument`]: a name, type or shape that is not the model's. Any other: the
    /// node could not run it; the text says why.
    pub fn run<'a>(
        &self,
        inputs: impl IntoIterator<Item = (&'a str, Tensor)>,
    ) -> Result<Tensors, Error> {
        let inputs = inputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        self.0.compute(inputs).map(Tensors)
    }
}

impl Tensors {
    /// That of a name.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidArgument`] with the names that there are.
    pub fn get(&self, name: &str) -> Result<&Tensor, Error> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
            let text = format!("there is no tensor `{name}`, but: {}", names.join(", "));
            Error::new(ErrorCode::InvalidArgument, text)
        })
    }

    /// The only one, of a model that gives one.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidArgument`]: there are none, or several.
    pub fn only(&self) -> Result<&Tensor, Error> {
        match self.0.as_slice() {
            [(_, tensor)] => Ok(tensor),
            others => {
                let text = format!("there are {} tensors: say which by its name", others.len());
                Err(Error::new(ErrorCode::InvalidArgument, text))
            }
        }
    }

    /// All, with their names, in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl IntoIterator for Tensors {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Model")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_no_test_answers_for_says_so() {
        let model = Model::load("nobody").unwrap();
        let error = model.run([]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
        assert!(error.to_string().contains("answer_models"), "{error}");
    }

    #[test]
    fn outputs_are_had_by_name_or_alone() {
        let one = Tensor::new(&[1], &[1_i64]).unwrap();
        let outputs = Tensors(vec![("a".to_owned(), one.clone()), ("b".to_owned(), one.clone())]);
        assert_eq!(outputs.get("b"), Ok(&one));
        assert!(outputs.get("c").unwrap_err().to_string().contains("a, b"));
        assert!(outputs.only().is_err());
        assert_eq!(Tensors(vec![("a".to_owned(), one.clone())]).only(), Ok(&one));
    }
}
