//! An array renders one image: each task renders one tile of the Mandelbrot set.
//!
//! A tile is its pixels, three bytes each (red, green, blue), row by row; `stitch` puts
//! tiles together into a PNG.
//!
//! ```text
//! wrun submit tiles.wasm --count 16
//! for i in $(seq 0 15); do wrun output JOB --task $i -o tile-$(printf %02d $i); done
//! cargo run -p stitch -- 1024x768 4x4 tile-* > image.png
//! ```

use serde::Deserialize;
use wrun_sdk::{Error, progress, task};

/// What is drawn; every field has a value if it is left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct View {
    /// Of the image, in pixels.
    width: u32,
    height: u32,
    /// The image's middle in the complex plane, and how wide it is there.
    real: f64,
    imaginary: f64,
    span: f64,
    /// Steps after which a point counts as inside.
    iterations: u32,
}

impl Default for View {
    fn default() -> Self {
        Self {
            width: 1024,
            height: 768,
            real: -0.7435,
            imaginary: 0.1314,
            span: 0.0125,
            iterations: 1000,
        }
    }
}

#[wrun_sdk::task]
fn tile(view: Option<View>) -> Result<Vec<u8>, Error> {
    let task = task();
    let view = view.unwrap_or_default();
    let (columns, rows) = grid(task.count);
    if view.width < columns || view.height < rows || view.width.max(view.height) > 1 << 16 {
        return Err(Error::new(format!(
            "{}x{} pixels cannot be cut into {columns}x{rows} tiles",
            view.width, view.height
        )));
    }
    let across = part(view.width, task.index % columns, columns);
    let down = part(view.height, task.index / columns, rows);
    let height = down.len() as u64;
    let mut pixels = Vec::with_capacity(across.len() * down.len() * 3);
    for (done, y) in down.enumerate() {
        for x in across.clone() {
            pixels.extend(color(&view, escape(&view, x, y)));
        }
        progress(done as u64 + 1, height, "rendering");
    }
    Ok(pixels)
}

/// The most even grid of `count` tiles, at least as wide as high.
fn grid(count: u32) -> (u32, u32) {
    let rows = (1..=count).take_while(|rows| rows * rows <= count);
    let rows = rows.filter(|rows| count.is_multiple_of(*rows));
    let rows = rows.last().unwrap_or(1);
    (count / rows, rows)
}

/// The `index`th of `count` parts of `length`, equal but for one pixel.
fn part(length: u32, index: u32, count: u32) -> std::ops::Range<u32> {
    let at = |index: u32| (u64::from(length) * u64::from(index) / u64::from(count)) as u32;
    at(index)..at(index + 1)
}

/// After how many steps the point of a pixel escapes, smoothed; `None` if it stays.
fn escape(view: &View, x: u32, y: u32) -> Option<f64> {
    let scale = view.span / f64::from(view.width);
    let real = view.real + (f64::from(x) - f64::from(view.width) / 2.0) * scale;
    let imaginary = view.imaginary - (f64::from(y) - f64::from(view.height) / 2.0) * scale;
    let (mut a, mut b) = (0.0_f64, 0.0_f64);
    for step in 0..view.iterations {
        let (a2, b2) = (a * a, b * b);
        if a2 + b2 > 256.0 {
            return Some(f64::from(step) + 1.0 - ((a2 + b2).ln() / 2.0).log2());
        }
        b = 2.0 * a * b + imaginary;
        a = a2 - b2 + real;
    }
    None
}

fn color(view: &View, escaped: Option<f64>) -> [u8; 3] {
    let Some(steps) = escaped else { return [0, 0, 0] };
    let place = (steps / f64::from(view.iterations)).sqrt() * 12.0;
    [0.0, 0.6, 1.2].map(|shift| (127.5 - 127.5 * (place * 1.7 + shift + 0.4).cos()) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wrun_sdk::testing;

    fn small() -> View {
        View { width: 40, height: 30, iterations: 50, ..View::default() }
    }

    #[test]
    fn tiles_of_an_array_are_the_image_in_one_piece() {
        let whole = tile(Some(small())).unwrap();
        assert_eq!(whole.len(), 40 * 30 * 3);
        let mut total = 0;
        for index in 0..6 {
            testing::start(testing::Run::of_array(index, 6));
            let piece = tile(Some(small())).unwrap();
            total += piece.len();
            if index == 0 {
                let width = part(40, 0, 3).len() * 3;
                assert_eq!(piece[..width], whole[..width]);
            }
        }
        assert_eq!(total, whole.len());
    }

    #[test]
    fn grids_are_as_even_as_the_count_allows() {
        assert_eq!(
            [1, 2, 4, 12, 16, 7].map(grid),
            [(1, 1), (2, 1), (2, 2), (4, 3), (4, 4), (7, 1)]
        );
    }

    #[test]
    fn an_image_smaller_than_its_grid_is_refused() {
        testing::start(testing::Run::of_array(0, 100));
        assert!(tile(Some(View { width: 5, ..small() })).is_err());
    }
}
