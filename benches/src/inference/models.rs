//! The models that are measured: some built here, some real ones from published wheels.

use anyhow::{Context, Result};
use harness::{Cluster, artefacts, models};

/// A model with what it is run on, written as the guest `nn-loop` takes it.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What it is, for the page.
    pub(super) what: &'static str,
    pub(super) file: Vec<u8>,
    /// In the model's order.
    pub(super) inputs: &'static [Input],
}

/// An input of a request. Numbers go up from 0 and begin again after a few.
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) element: Element,
    pub(super) shape: &'static [usize],
    /// The one value that it is full of.
    pub(super) value: Option<i64>,
}

#[derive(Clone, Copy)]
pub(super) enum Element {
    Fp32,
    I32,
    I64,
}

/// The numbers of a tensor.
pub(super) enum Numbers {
    Fp32(Vec<f32>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Input {
    /// The shape with so many rows: what has one value is the same for all of them.
    pub(super) fn shape_of(&self, rows: usize) -> Vec<usize> {
        let mut shape = self.shape.to_vec();
        if let (Some(first), None) = (shape.first_mut(), self.value) {
            *first = rows;
        }
        shape
    }

    /// The numbers of so many rows, each as the guest makes them.
    pub(super) fn numbers(&self, rows: usize) -> Numbers {
        let row: usize = self.shape.iter().product();
        let indices = 0..self.shape_of(rows).iter().product();
        let whole = |index: usize| self.value.unwrap_or((index % row % 17) as i64);
        match self.element {
            Element::Fp32 => {
                let scale = if self.value.is_none() { 17.0 } else { 1.0 };
                Numbers::Fp32(indices.map(|index| whole(index) as f32 / scale).collect())
            }
            Element::I32 => Numbers::I32(indices.map(|index| whole(index) as i32).collect()),
            Element::I64 => Numbers::I64(indices.map(whole).collect()),
        }
    }
}

const fn input(name: &'static str, element: Element, shape: &'static [usize]) -> Input {
    Input { name, element, shape, value: None }
}

pub(super) fn trivial() -> Case {
    const INPUTS: &[Input] = &[input("x", Element::Fp32, &[1, 2])];
    Case { name: "trivial", what: "a trivial model", file: models::relu(), inputs: INPUTS }
}

/// 100 MB of weights.
pub(super) fn deep() -> Case {
    const INPUTS: &[Input] = &[input("x", Element::Fp32, &[1, 1024])];
    let file = models::dense(1024, 24);
    Case { name: "deep", what: "24 dense layers of 1024", file, inputs: INPUTS }
}

/// The same with more rows in a request, each time more: how long it takes is a matter of the machine.
pub(super) fn longer() -> [Case; 4] {
    const WHATS: [&str; 4] = [
        "24 dense layers of 1024, 8 rows",
        "24 dense layers of 1024, 16 rows",
        "24 dense layers of 1024, 32 rows",
        "24 dense layers of 1024, 64 rows",
    ];
    const INPUTS: [&[Input]; 4] = [
        &[input("x", Element::Fp32, &[8, 1024])],
        &[input("x", Element::Fp32, &[16, 1024])],
        &[input("x", Element::Fp32, &[32, 1024])],
        &[input("x", Element::Fp32, &[64, 1024])],
    ];
    std::array::from_fn(|at| {
        let (what, inputs) = (WHATS.get(at), INPUTS.get(at));
        Case { what: what.unwrap_or(&""), inputs: inputs.unwrap_or(&&[][..]), ..deep() }
    })
}

/// 17 MB of weights.
pub(super) fn dense() -> Case {
    const INPUTS: &[Input] = &[input("x", Element::Fp32, &[1, 1024])];
    let file = models::dense(1024, 4);
    Case { name: "dense", what: "4 dense layers of 1024", file, inputs: INPUTS }
}

pub(super) fn magika() -> Result<Case> {
    const INPUTS: &[Input] = &[input("bytes", Element::I32, &[1, 2048])];
    let file = read("magika-1.0.3", "magika/models/standard_v3_3/model.onnx")?;
    Ok(Case { name: "magika", what: "`magika` 1.0.3", file, inputs: INPUTS })
}

pub(super) fn voice() -> Result<Case> {
    const INPUTS: &[Input] = &[
        input("input", Element::Fp32, &[1, 576]),
        Input { name: "sr", element: Element::I64, shape: &[], value: Some(16_000) },
        Input { name: "state", element: Element::Fp32, shape: &[2, 1, 128], value: Some(0) },
    ];
    let file = read("silero-vad-6.2.3", "silero_vad/data/silero_vad_op18_ifless.onnx")?;
    Ok(Case { name: "voice", what: "`silero-vad` 6.2.3", file, inputs: INPUTS })
}

fn read(wheel: &str, path: &str) -> Result<Vec<u8>> {
    let path = artefacts::wheel(wheel).join(path);
    std::fs::read(&path).with_context(|| path.display().to_string())
}

impl Case {
    /// The same model under another name, of another digest: a node knows models by that, and
    /// settings go with it.
    pub(super) fn renamed(self, name: &'static str) -> Self {
        let mut file = self.file;
        // One more field: the model's `producer_name`.
        file.extend([0x12, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
        file.extend(name.bytes().take(usize::from(u8::MAX)));
        Self { name, file, ..self }
    }

    /// Rows of a request.
    pub(super) fn rows(&self) -> usize {
        let first = self.inputs.first().and_then(|input| input.shape.first());
        first.copied().unwrap_or(1)
    }

    /// Pushes it with such flags.
    pub(super) fn push(&self, cluster: &Cluster, flags: &[&str]) -> Result<()> {
        let file = format!("{}.onnx", self.name);
        std::fs::write(cluster.folder().join(&file), &self.file)?;
        cluster.stdout(&[&["model", "push", self.name, &file], flags].concat());
        Ok(())
    }

    /// The inputs as arguments of the guest.
    pub(super) fn arguments(&self) -> Vec<String> {
        let argument = |input: &Input| {
            let element = match input.element {
                Element::Fp32 => "fp32",
                Element::I32 => "i32",
                Element::I64 => "i64",
            };
            let shape: Vec<_> = input.shape.iter().map(usize::to_string).collect();
            let value = input.value.map_or("?".to_owned(), |value| value.to_string());
            format!("{}={element}:{}:{value}", input.name, shape.join("x"))
        };
        self.inputs.iter().map(argument).collect()
    }
}
