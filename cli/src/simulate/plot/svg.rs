//! Marks as SVG: text stays text, and the file is small enough to be mailed.

use std::fmt::Write as _;
use std::io;

use super::{Anchor, Colour, Font, HEIGHT, Mark, WIDTH};

/// Writes the picture.
pub(super) fn write(marks: &[Mark], to: &mut impl io::Write) -> io::Result<()> {
    writeln!(
        to,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"system-ui, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif\">"
    )?;
    marks.iter().try_for_each(|mark| mark_to(mark, to))?;
    writeln!(to, "</svg>")
}

fn mark_to(mark: &Mark, to: &mut impl io::Write) -> io::Result<()> {
    match mark {
        Mark::Rectangle { left, top, width, height, colour } => writeln!(
            to,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
            Short(*left),
            Short(*top),
            Short(*width),
            Short(*height),
            hex(*colour)
        ),
        Mark::Text { x, baseline, anchor, font, colour, text } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let (size, weight) = match font {
                Font::Title => (16, 600),
                Font::Heading => (13, 600),
                Font::Label => (12, 400),
            };
            writeln!(
                to,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\" font-size=\"{size}\" \
                 font-weight=\"{weight}\" fill=\"{}\">{}</text>",
                Short(*x),
                Short(*baseline),
                hex(*colour),
                escaped(text)
            )
        }
        Mark::Steps { steps, ground, colour } => {
            let Some((line, area)) = paths(steps, *ground) else { return Ok(()) };
            let colour = hex(*colour);
            writeln!(to, "<path d=\"{area}\" fill=\"{colour}\" fill-opacity=\"0.14\"/>")?;
            writeln!(
                to,
                "<path d=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" \
                 stroke-linejoin=\"round\"/>"
            )
        }
    }
}

/// The line, and the same closed along the ground.
fn paths(steps: &[(f64, f64, f64)], ground: f64) -> Option<(String, String)> {
    let (left, _, height) = steps.first()?;
    let (_, right, _) = steps.last()?;
    let mut line = format!("M{} {}", Short(*left), Short(*height));
    let mut at = *height;
    for (left, _, height) in steps {
        if Short(*height).to_string() != Short(at).to_string() {
            let _ = write!(line, "H{}V{}", Short(*left), Short(*height));
            at = *height;
        }
    }
    let _ = write!(line, "H{}", Short(*right));
    let area = format!("{line}L{} {ground}L{} {ground}Z", Short(*right), Short(*left));
    Some((line, area))
}

/// A number to a tenth, without a zero at its end.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round();
        // A negative zero would be written with its sign.
        write!(f, "{}", if tenths == 0.0 { 0.0 } else { tenths / 10.0 })
    }
}

fn hex(colour: Colour) -> String {
    let [red, green, blue] = colour;
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Text of others in XML: no markup, no control characters.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            letter if letter.is_control() => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_become_the_shortest_path() {
        let steps = [(0.0, 10.0, 5.0), (10.0, 20.0, 5.04), (20.0, 30.0, 1.0)];
        let (line, area) = paths(&steps, 8.0).unwrap();
        assert_eq!(line, "M0 5H20V1H30");
        assert_eq!(area, "M0 5H20V1H30L30 8L0 8Z");
        assert_eq!(paths(&[], 8.0), None);
    }

    #[test]
    fn names_of_files_are_no_markup() {
        assert_eq!(escaped("<a&\u{1}>"), "&lt;a&amp;\u{fffd}&gt;");
    }
}
