//! What models answer in tests on the build machine, where there are none. Every thread has
//! answers of its own. See [the module's example](super).

use std::cell::RefCell;

use super::{Error, ErrorCode, Tensor, Tensors};

type Outputs = Result<Vec<(String, Tensor)>, Error>;
type Answer = Box<dyn FnMut(&str, &Tensors) -> Outputs>;

thread_local! {
    static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
}

/// Says what models of this thread answer from now on, by name and inputs; without that they
/// fail. A model that the code under test brings itself has the name `""`.
pub fn answer_models(answer: impl FnMut(&str, &Tensors) -> Outputs + 'static) {
    ANSWER.set(Some(Box::new(answer)));
}

pub(super) fn answer_to(name: &str, inputs: &Tensors) -> Outputs {
    ANSWER.with_borrow_mut(|answer| match answer {
        Some(answer) => answer(name, inputs),
        None => Err(Error::new(
            ErrorCode::NotFound,
            "there are no models outside a cluster: say what they answer with \
             `nn::testing::answer_models`",
        )),
    })
}
