//! An HTTP service that answers with what the model `double` says: rows of two numbers in JSON,
//! and twice as much.

use wrun_sdk::http::{Error, Json};
use wrun_sdk::nn::{Model, Tensor};

#[wrun_sdk::http]
async fn infer(Json(rows): Json<Vec<[f32; 2]>>) -> Result<Json<Vec<f32>>, Error> {
    let input = Tensor::new(&[rows.len() as u32, 2], rows.as_flattened())?;
    let outputs = Model::load("double")?.run([("x", input)])?;
    Ok(Json(outputs.get("y")?.to_vec()?))
}
