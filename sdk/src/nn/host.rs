//! Models outside a cluster: as the test at hand says.

use super::{Error, Target, Tensor, Tensors, testing};

pub(super) struct Loaded {
    name: String,
}

pub(super) fn load_by_name(name: &str) -> Result<Loaded, Error> {
    Ok(Loaded { name: name.to_owned() })
}

pub(super) fn load(_: &[u8], _: Target) -> Result<Loaded, Error> {
    Ok(Loaded { name: String::new() })
}

impl Loaded {
    pub(super) fn compute(
        &self,
        inputs: Vec<(String, Tensor)>,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        testing::answer_to(&self.name, &Tensors(inputs))
    }
}
