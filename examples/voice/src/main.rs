//! Says when somebody speaks in a recording (WAV, 16 bits, one channel, 16 kHz, from standard input),
//! with the model silero-vad, which the Python package of that name brings:
//!
//! ```text
//! pip download --no-deps silero-vad && unzip silero_vad-*.whl 'silero_vad/data/*'
//! wrun model push silero-vad silero_vad/data/silero_vad_op18_ifless.onnx
//! wrun run voice.wasm --model silero-vad --input recording.wav
//! ```
//!
//! The model hears 512 samples at a time, with 64 of those before, and hands on a state.

use std::io::{self, Read};

use wrun_sdk::nn::{Error, Model, Tensor};

type Failure = Box<dyn std::error::Error>;

const RATE: u32 = 16_000;
const STEP: usize = 512;
const BEFORE: usize = 64;
const STATE: [u32; 3] = [2, 1, 128];

/// From where on it is speech.
const THRESHOLD: f32 = 0.5;

fn main() -> Result<(), Failure> {
    let mut recording = Vec::new();
    io::stdin().read_to_end(&mut recording)?;
    let samples = samples(&recording)?;
    let model = Model::load("silero-vad")?;
    let speech = speech(&model, &samples)?;
    for (begin, end) in stretches(&speech) {
        let seconds = |step: usize| (step * STEP) as f32 / RATE as f32;
        println!("{:.2} s to {:.2} s", seconds(begin), seconds(end));
    }
    Ok(())
}

/// The samples of a WAV file, from -1 to 1.
fn samples(wav: &[u8]) -> Result<Vec<f32>, Failure> {
    let mut rest = match wav.split_at_checked(12) {
        Some((head, rest)) if head.starts_with(b"RIFF") && head.ends_with(b"WAVE") => rest,
        _ => return Err("this is no WAV file".into()),
    };
    let mut right = false;
    while let Some((head, after)) = rest.split_at_checked(8) {
        let size = u32::from_le_bytes(head[4..].try_into()?) as usize;
        let content = after.get(..size).unwrap_or(after);
        match &head[..4] {
            b"fmt " => {
                // PCM, one channel; the rate; 16 bits a sample.
                right = content.starts_with(&[1, 0, 1, 0])
                    && content.get(4..8) == Some(&RATE.to_le_bytes()[..])
                    && content.get(14..16) == Some(&[16, 0][..]);
            }
            b"data" if right => {
                let pairs = content.chunks_exact(2);
                let sample = |pair: &[u8]| f32::from(i16::from_le_bytes([pair[0], pair[1]]));
                return Ok(pairs.map(|pair| sample(pair) / 32768.0).collect());
            }
            _ => {}
        }
        rest = after.get(size + size % 2..).unwrap_or_default();
    }
    Err("it wants 16 bits, one channel and 16 kHz: ffmpeg -i FILE -ac 1 -ar 16000 OUT.wav".into())
}

/// How likely each step is speech.
fn speech(model: &Model, samples: &[f32]) -> Result<Vec<f32>, Error> {
    let mut state = Tensor::new(&STATE, &[0.0_f32; 256])?;
    let rate = Tensor::new(&[], &[i64::from(RATE)])?;
    let mut before = [0.0; BEFORE];
    let mut speech = Vec::new();
    for step in samples.chunks_exact(STEP) {
        let heard = [&before, step].concat();
        let shape = [1, (BEFORE + STEP) as u32];
        let inputs =
            [("input", Tensor::new(&shape, &heard)?), ("state", state), ("sr", rate.clone())];
        let outputs = model.run(inputs)?;
        speech.extend(outputs.get("output")?.to_vec::<f32>()?);
        state = outputs.get("stateN")?.clone();
        before.copy_from_slice(&step[STEP - BEFORE..]);
    }
    Ok(speech)
}

/// From which step to which somebody speaks.
fn stretches(speech: &[f32]) -> Vec<(usize, usize)> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for (step, _) in speech.iter().enumerate().filter(|(_, likely)| **likely >= THRESHOLD) {
        match stretches.last_mut() {
            Some((_, end)) if *end == step => *end = step + 1,
            _ => stretches.push((step, step + 1)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use wrun_sdk::nn::testing;

    use super::*;

    /// A WAV file of these samples.
    fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
        let mut data: Vec<u8> =
            b"RIFF\0\0\0\0WAVEjunk\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x01\0".into();
        data.extend(rate.to_le_bytes());
        data.extend((rate * 2).to_le_bytes());
        data.extend([2, 0, 16, 0]);
        data.extend(b"data");
        data.extend((samples.len() as u32 * 2).to_le_bytes());
        data.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        data
    }

    #[test]
    fn samples_are_read_and_what_is_no_such_recording_is_refused() {
        assert_eq!(samples(&wav(RATE, &[0, 16384, -32768])).unwrap(), [0.0, 0.5, -1.0]);
        assert!(samples(&wav(44_100, &[0])).is_err());
        assert!(samples(b"RIFF").is_err());
        assert!(samples(b"an mp3 file, say, that is longer").is_err());
    }

    #[test]
    fn the_state_and_the_last_samples_go_from_step_to_step() {
        let mut steps = 0;
        testing::answer_models(move |_, inputs| {
            let heard = inputs.get("input")?.to_vec::<f32>()?;
            assert_eq!(heard[0], if steps == 0 { 0.0 } else { steps as f32 });
            assert_eq!(inputs.get("state")?.to_vec::<f32>()?[0], steps as f32);
            steps += 1;
            let likely = if steps == 2 { 0.9_f32 } else { 0.1 };
            Ok(vec![
                ("output".to_owned(), Tensor::new(&[1, 1], &[likely])?),
                ("stateN".to_owned(), Tensor::new(&STATE, &[steps as f32; 256])?),
            ])
        });
        let model = Model::load("silero-vad").unwrap();
        let samples: Vec<f32> = (0..3 * STEP).map(|at| (at / STEP + 1) as f32).collect();
        assert_eq!(stretches(&speech(&model, &samples).unwrap()), [(1, 2)]);
    }

    #[test]
    fn neighbouring_steps_are_one_stretch() {
        assert_eq!(stretches(&[0.9, 0.8, 0.1, 0.5, 0.0]), [(0, 2), (3, 4)]);
        assert!(stretches(&[]).is_empty());
    }
}
