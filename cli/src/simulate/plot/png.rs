//! Marks as pixels. All of them are rectangles but the letters, which come with the
//! binary: a server has no fonts, and needs none.

use std::io;

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::{Anchor, Colour, Font, HEIGHT, Mark, WIDTH};

/// Pixels for each unit of a figure. At this scale the letters that there are have the
/// sizes of those in the SVG.
const SCALE: f64 = 1.5;

/// How thick lines are, in pixels.
const STROKE: f64 = 2.0;

/// How much of its colour the ground under a line has.
const TINT: f64 = 0.14;

/// Writes the picture.
pub(super) fn write(marks: &[Mark], to: &mut impl io::Write) -> io::Result<()> {
    let mut canvas = Canvas::new((WIDTH * SCALE) as usize, (HEIGHT * SCALE) as usize);
    marks.iter().for_each(|mark| canvas.draw(mark));
    let (width, height) = (canvas.width as u32, canvas.height as u32);
    let mut encoder = png::Encoder::new(to, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(io::Error::from)?;
    writer.write_image_data(&canvas.pixels()).map_err(io::Error::from)?;
    writer.finish().map_err(io::Error::from)
}

/// Pixels in red, green and blue, row by row.
struct Canvas {
    width: usize,
    height: usize,
    colours: Vec<[f64; 3]>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, colours: vec![[255.0; 3]; width * height] }
    }

    fn pixels(&self) -> Vec<u8> {
        self.colours.iter().flatten().map(|part| part.round() as u8).collect()
    }

    /// Lays `colour` over a pixel, `cover` from 0 to 1. Outside of the picture is nothing.
    fn blend(&mut self, x: usize, y: usize, colour: Colour, cover: f64) {
        if x >= self.width {
            return;
        }
        if let Some(pixel) = self.colours.get_mut(y * self.width + x) {
            for (part, new) in pixel.iter_mut().zip(colour) {
                *part += (f64::from(new) - *part) * cover;
            }
        }
    }

    /// Fills from edge to edge, in pixels; one that is met in part is coloured in part.
    fn fill(&mut self, x: (f64, f64), y: (f64, f64), colour: Colour, strength: f64) {
        let cells = |(from, to): (f64, f64), most: usize| {
            let (from, to) = (from.max(0.0), to.min(most as f64));
            let cover = move |cell: usize| {
                (cell, (to.min(cell as f64 + 1.0) - from.max(cell as f64)).max(0.0))
            };
            (from.floor() as usize..to.max(from).ceil() as usize).map(cover)
        };
        for (row, down) in cells(y, self.height) {
            for (column, over) in cells(x, self.width) {
                self.blend(column, row, colour, strength * down * over);
            }
        }
    }

    fn draw(&mut self, mark: &Mark) {
        match mark {
            Mark::Rectangle { left, top, width, height, colour } => {
                let edges = |from: f64, length: f64| (from * SCALE, (from + length) * SCALE);
                self.fill(edges(*left, *width), edges(*top, *height), *colour, 1.0);
            }
            Mark::Steps { steps, ground, colour } => self.draw_steps(steps, *ground, *colour),
            Mark::Text { x, baseline, anchor, font, colour, text } => {
                let font = Letters::of(*font);
                let wide = (text.chars().count() * font.width()) as f64;
                let left = x * SCALE
                    - match anchor {
                        Anchor::Start => 0.0,
                        Anchor::Middle => wide / 2.0,
                        Anchor::End => wide,
                    };
                self.draw_text(left.round(), (baseline * SCALE).round(), &font, *colour, text);
            }
        }
    }

    fn draw_steps(&mut self, steps: &[(f64, f64, f64)], ground: f64, colour: Colour) {
        let around = |at: f64| (at - STROKE / 2.0, at + STROKE / 2.0);
        let mut before = None;
        for (left, right, height) in steps {
            // On whole pixels, or the seams between the tinted strips would show.
            let (left, right) = ((left * SCALE).round(), (right * SCALE).round());
            let height = height * SCALE;
            self.fill((left, right), (height, ground * SCALE), colour, TINT);
            self.fill((left, right), around(height), colour, 1.0);
            if let Some(before) = before.filter(|before| *before != height) {
                let ends = (around(height.min(before)).0, around(height.max(before)).1);
                self.fill(around(left), ends, colour, 1.0);
            }
            before = Some(height);
        }
    }

    fn draw_text(&mut self, left: f64, baseline: f64, font: &Letters, colour: Colour, text: &str) {
        let top = baseline - font.baseline() as f64;
        for (place, letter) in text.chars().enumerate() {
            let left = left + (place * font.width()) as f64;
            if left < 0.0 || top < 0.0 {
                continue;
            }
            for (y, row) in font.rows(letter).iter().enumerate() {
                for (x, cover) in row.iter().enumerate() {
                    let cover = f64::from(*cover) / 255.0;
                    self.blend(left as usize + x, top as usize + y, colour, cover);
                }
            }
        }
    }
}

/// Letters of one size and weight.
struct Letters(FontWeight, RasterHeight);

impl Letters {
    fn of(font: Font) -> Self {
        match font {
            Font::Title => Self(FontWeight::Bold, RasterHeight::Size32),
            Font::Heading => Self(FontWeight::Bold, RasterHeight::Size24),
            Font::Label => Self(FontWeight::Regular, RasterHeight::Size24),
        }
    }

    fn width(&self) -> usize {
        get_raster_width(self.0, self.1)
    }

    /// The rows of a letter, from the top; those of `?` for one that there is not.
    fn rows(&self, letter: char) -> Vec<&'static [u8]> {
        let raster = get_raster(letter, self.0, self.1).or_else(|| get_raster('?', self.0, self.1));
        raster.map(|raster| raster.rows().collect()).unwrap_or_default()
    }

    /// How far below the top a letter without a tail ends.
    fn baseline(&self) -> usize {
        let rows = self.rows('H');
        rows.iter().rposition(|row| row.iter().any(|part| *part > 127)).map_or(0, |row| row + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_that_is_met_in_part_is_coloured_in_part() {
        let mut canvas = Canvas::new(3, 1);
        canvas.fill((0.5, 2.0), (0.0, 1.0), [0, 0, 0], 1.0);
        assert_eq!(canvas.pixels(), [128, 128, 128, 0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn what_lies_outside_is_not_drawn() {
        let mut canvas = Canvas::new(2, 2);
        canvas.fill((-5.0, -1.0), (0.0, 9.0), [0, 0, 0], 1.0);
        canvas.fill((5.0, 9.0), (5.0, 9.0), [0, 0, 0], 1.0);
        canvas.draw_text(-50.0, 9.0, &Letters::of(Font::Label), [0, 0, 0], "ü far");
        assert!(canvas.pixels().iter().all(|part| *part == 255));
    }

    #[test]
    fn letters_stand_on_their_line() {
        for font in [Font::Title, Font::Heading, Font::Label] {
            let letters = Letters::of(font);
            assert!(letters.baseline() > 12 && letters.width() > 6);
        }
    }
}
