//! Says what is in each of the files that are its arguments, with Google's model `magika`, which
//! the Python package of that name brings:
//!
//! ```text
//! pip download --no-deps magika && unzip magika-*.whl 'magika/models/*'
//! wrun model push magika magika/models/standard_v3_3/model.onnx
//! wrun run file-type.wasm --model magika \
//!     --mount magika/models/standard_v3_3/config.min.json:/config.json --mount README.md:/README.md \
//!     -- /README.md
//! ```
//!
//! How a file becomes the model's input is as magika 1.0 does it: the first and the last bytes,
//! without white space around them, padded.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use wrun_sdk::nn::{Model, Tensor};

type Failure = Box<dyn std::error::Error>;

/// What magika's own configuration says of the model.
#[derive(Deserialize)]
struct Config {
    beg_size: usize,
    end_size: usize,
    block_size: usize,
    padding_token: i32,
    min_file_size_for_dl: u64,
    target_labels_space: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let config: Config = serde_json::from_reader(File::open("/config.json")?)?;
    let model = Model::load("magika")?;
    for path in std::env::args().skip(1) {
        let (label, score) = classify(&model, &config, Path::new(&path))?;
        println!("{path}: {label} ({:.0} %)", score * 100.0);
    }
    Ok(())
}

fn classify(model: &Model, config: &Config, path: &Path) -> Result<(String, f32), Failure> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size < config.min_file_size_for_dl {
        return Ok(("too short to tell".to_owned(), 1.0));
    }
    let tokens = features(&mut file, size, config)?;
    let shape = [1, u32::try_from(tokens.len())?];
    let outputs = model.run([("bytes", Tensor::new(&shape, &tokens)?)])?;
    let scores = outputs.only()?;
    let best = scores.argmax::<f32>()?;
    let label = config.target_labels_space.get(best).ok_or("the model has more labels")?;
    let score = scores.to_vec::<f32>()?.get(best).copied().unwrap_or_default();
    Ok((label.clone(), score))
}

/// What the model sees of a file.
fn features(file: &mut (impl Read + Seek), size: u64, config: &Config) -> io::Result<Vec<i32>> {
    let block = size.min(config.block_size as u64);
    let whole = size <= config.block_size as u64;
    let first = read(file, 0, block)?;
    let last = read(file, size - block, block)?;
    let first = if whole { first.trim_ascii() } else { first.trim_ascii_start() };
    let last = if whole { last.trim_ascii() } else { last.trim_ascii_end() };
    let first = first.get(..first.len().min(config.beg_size)).unwrap_or_default();
    let last = last.get(last.len().saturating_sub(config.end_size)..).unwrap_or_default();
    let mut tokens: Vec<i32> = first.iter().map(|byte| i32::from(*byte)).collect();
    tokens.resize(config.beg_size + config.end_size - last.len(), config.padding_token);
    tokens.extend(last.iter().map(|byte| i32::from(*byte)));
    Ok(tokens)
}

fn read(file: &mut (impl Read + Seek), at: u64, size: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn config() -> Config {
        Config {
            beg_size: 4,
            end_size: 4,
            block_size: 8,
            padding_token: 256,
            min_file_size_for_dl: 2,
            target_labels_space: vec!["no".to_owned(), "yes".to_owned()],
        }
    }

    fn of(text: &str) -> Vec<i32> {
        features(&mut Cursor::new(text), text.len() as u64, &config()).unwrap()
    }

    #[test]
    fn a_file_is_its_first_and_last_bytes_without_white_space_padded_in_the_middle() {
        let bytes = |text: &str| text.bytes().map(i32::from).collect::<Vec<_>>();
        assert_eq!(of(" abc "), [bytes("abc"), vec![256, 256], bytes("abc")].concat());
        assert_eq!(of("  abcdefghij\n"), bytes("abcdghij"));
    }

    #[test]
    fn the_label_is_that_of_the_highest_score() {
        wrun_sdk::nn::testing::answer_models(|name, inputs| {
            assert_eq!(name, "magika");
            assert_eq!(inputs.get("bytes")?.shape(), [1, 8]);
            Ok(vec![("target_label".to_owned(), Tensor::new(&[1, 2], &[0.25_f32, 0.75])?)])
        });
        let model = Model::load("magika").unwrap();
        let path = std::env::temp_dir().join(format!("file-type-{}", std::process::id()));
        std::fs::write(&path, "some text").unwrap();
        let found = classify(&model, &config(), &path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found.unwrap(), ("yes".to_owned(), 0.75));
    }
}
