//! An HTTP service that answers with what models say: `POST /double` takes rows of two numbers in
//! JSON, and gives twice as much by the model `double`; `POST /file-type` takes the content of a
//! file, and gives which of the labels of the model `magika` it has, and how sure that is.

use wrun_sdk::http::{Error, IntoResponse, Json, Read, Request, Response, StatusCode};
use wrun_sdk::nn::{Model, Tensor};

/// What magika sees of a file: its first and its last bytes.
const SEEN: usize = 1024;

/// What stands where a file has ended.
const PADDING: i32 = 256;

#[wrun_sdk::http]
async fn infer(request: Request) -> Result<Response, Error> {
    match request.uri().path() {
        "/double" => {
            let rows: Vec<[f32; 2]> = request.json().await?;
            let input = Tensor::new(&[rows.len() as u32, 2], rows.as_flattened())?;
            let outputs = Model::load("double")?.run([("x", input)])?;
            Ok(Json(outputs.get("y")?.to_vec::<f32>()?).into_response())
        }
        "/file-type" => {
            let tokens = tokens(&request.bytes().await?);
            let input = Tensor::new(&[1, tokens.len() as u32], &tokens)?;
            let outputs = Model::load("magika")?.run([("bytes", input)])?;
            let scores = outputs.only()?;
            let label = scores.argmax::<f32>()?;
            let score = scores.to_vec::<f32>()?.get(label).copied().unwrap_or_default();
            Ok(Json((label, score)).into_response())
        }
        _ => Err(Error::new(StatusCode::NOT_FOUND, "there are `/double` and `/file-type`")),
    }
}

fn tokens(file: &[u8]) -> Vec<i32> {
    let first = file.get(..SEEN).unwrap_or(file);
    let last = file.get(file.len().saturating_sub(SEEN)..).unwrap_or_default();
    let mut tokens: Vec<i32> = first.iter().map(|byte| i32::from(*byte)).collect();
    tokens.resize(2 * SEEN - last.len(), PADDING);
    tokens.extend(last.iter().map(|byte| i32::from(*byte)));
    tokens
}
