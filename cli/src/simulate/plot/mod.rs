//! The picture of a simulated schedule: what was in use and what waited, over time.
//!
//! A figure is laid out once, as marks that are rectangles, steps and text; SVG and PNG
//! are two ways to write the same marks.

mod axis;
mod png;
mod svg;

use std::io;
use std::path::Path;

use self::axis::Tick;
use super::measure::Capacity;
use super::series::{Levels, Series};

/// The picture's size, in units of which a PNG takes one and a half pixels each.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 580.0;

const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 28.0;

/// Where the panels are, from their upper to their lower edges.
const UPPER: (f64, f64) = (112.0, 300.0);
const LOWER: (f64, f64) = (356.0, 514.0);

/// How wide a letter is about.
const LETTER: f64 = 7.3;

/// A stretch of time is at least so wide: finer ones are a blur.
const LEAST_STEP: f64 = 2.0;

/// A colour as red, green and blue.
type Colour = [u8; 3];

const INK: Colour = [31, 41, 55];
const PALE_INK: Colour = [100, 110, 125];
const GRID: Colour = [226, 230, 236];
const EDGE: Colour = [148, 158, 172];
const PAPER: Colour = [255, 255, 255];
const CPU: Colour = [37, 99, 168];
const MEMORY: Colour = [22, 140, 104];
const GPU: Colour = [213, 106, 14];
const QUEUE: Colour = [116, 76, 168];

/// Which format a file's name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Svg,
    Png,
}

impl Format {
    /// By the name's ending; `None` for any other.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "svg" => Some(Self::Svg),
            "png" => Some(Self::Png),
            _ => None,
        }
    }
}

/// What the picture shows.
pub(crate) struct Figure<'a> {
    pub(crate) title: &'a str,
    pub(crate) subtitle: &'a str,
    pub(crate) series: &'a Series,
    pub(crate) capacity: Capacity,
}

/// How large and heavy text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Font {
    Title,
    Heading,
    Label,
}

/// Which side of a text its place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// What is drawn, one over the other.
#[derive(Clone, Debug, PartialEq)]
enum Mark {
    Rectangle {
        left: f64,
        top: f64,
        width: f64,
        height: f64,
        colour: Colour,
    },
    Text {
        x: f64,
        baseline: f64,
        anchor: Anchor,
        font: Font,
        colour: Colour,
        text: String,
    },
    /// A line of steps, each from a left to a right edge at a height, the ground below
    /// it tinted.
    Steps {
        steps: Vec<(f64, f64, f64)>,
        ground: f64,
        colour: Colour,
    },
}

/// One line of a panel: its name, colour, and values over stretches of seconds.
struct Line {
    name: String,
    colour: Colour,
    values: Vec<(f64, f64, f64)>,
}

/// A frame with lines over time.
struct Panel {
    heading: &'static str,
    edges: (f64, f64),
    ticks: Vec<Tick>,
    lines: Vec<Line>,
}

/// Writes the figure in that format.
pub(crate) fn write(
    figure: &Figure<'_>,
    format: Format,
    to: &mut impl io::Write,
) -> io::Result<()> {
    let marks = marks(figure);
    match format {
        Format::Svg => svg::write(&marks, to),
        Format::Png => png::write(&marks, to),
    }
}

fn marks(figure: &Figure<'_>) -> Vec<Mark> {
    let end = (figure.series.end() as f64 / 1000.0).max(1.0);
    let stretches = stretches(figure.series);
    let times = axis::time(end, 8);
    let mut marks = vec![
        Mark::Rectangle { left: 0.0, top: 0.0, width: WIDTH, height: HEIGHT, colour: PAPER },
        text(LEFT, 34.0, Anchor::Start, Font::Title, INK, figure.title),
        text(LEFT, 58.0, Anchor::Start, Font::Label, PALE_INK, figure.subtitle),
    ];
    for panel in [utilisation(figure, &stretches), queue(figure, &stretches)] {
        panel.draw(end, &times, &mut marks);
    }
    for tick in &times {
        let x = across(tick.at, end);
        marks.push(text(x, LOWER.1 + 20.0, Anchor::Middle, Font::Label, PALE_INK, &tick.label));
    }
    let below = "time since the first submission";
    let middle = f64::midpoint(LEFT, RIGHT);
    marks.push(text(middle, LOWER.1 + 44.0, Anchor::Middle, Font::Label, PALE_INK, below));
    marks
}

fn text(x: f64, baseline: f64, anchor: Anchor, font: Font, colour: Colour, text: &str) -> Mark {
    Mark::Text { x, baseline, anchor, font, colour, text: text.to_owned() }
}

/// Where an instant lies, in seconds of `end`.
fn across(at: f64, end: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * (at / end)
}

/// Means over stretches that are wide enough to be seen, in seconds.
fn stretches(series: &Series) -> Vec<(f64, f64, Levels)> {
    let least = series.end() as f64 * LEAST_STEP / (RIGHT - LEFT);
    let mut joined: Vec<(f64, f64, Levels)> = Vec::new();
    let mut open: Option<(u64, u64, Levels)> = None;
    let mut close = |(start, end, sum): (u64, u64, Levels)| {
        let mut mean = Levels::default();
        mean.add(&sum, 1.0 / (end - start) as f64);
        joined.push((start as f64 / 1000.0, end as f64 / 1000.0, mean));
    };
    for (start, end, mean) in series.means() {
        let (from, _, mut sum) = open.take().unwrap_or((start, start, Levels::default()));
        sum.add(&mean, (end - start) as f64);
        if (end - from) as f64 >= least {
            close((from, end, sum));
        } else {
            open = Some((from, end, sum));
        }
    }
    open.into_iter().for_each(close);
    joined
}

fn utilisation(figure: &Figure<'_>, stretches: &[(f64, f64, Levels)]) -> Panel {
    let mean = figure.capacity.shares(&figure.series.mean());
    let line = |name: &str, colour, mean: Option<f64>, share: &dyn Fn(&Levels) -> Option<f64>| {
        let mean = mean?;
        let values = stretches.iter().map(|(start, end, levels)| {
            (*start, *end, share(levels).unwrap_or_default().clamp(0.0, 1.0))
        });
        let name = format!("{name}, mean {:.1} %", mean * 100.0);
        Some(Line { name, colour, values: values.collect() })
    };
    let shares = |levels: &Levels| figure.capacity.shares(levels);
    let lines = [
        line("memory", MEMORY, mean.memory, &|levels| shares(levels).memory),
        line("CPU", CPU, mean.cpu, &|levels| shares(levels).cpu),
        line("GPU", GPU, mean.gpu, &|levels| shares(levels).gpu),
    ];
    Panel {
        heading: "In use",
        edges: UPPER,
        ticks: axis::share(),
        lines: lines.into_iter().flatten().collect(),
    }
}

fn queue(figure: &Figure<'_>, stretches: &[(f64, f64, Levels)]) -> Panel {
    let values: Vec<(f64, f64, f64)> =
        stretches.iter().map(|(start, end, levels)| (*start, *end, levels.waiting)).collect();
    let highest = values.iter().map(|(_, _, value)| *value).fold(0.0, f64::max);
    let name = format!("mean {:.1}", figure.series.mean().waiting);
    Panel {
        heading: "Jobs waiting",
        edges: LOWER,
        ticks: axis::count(highest, 4),
        lines: vec![Line { name, colour: QUEUE, values }],
    }
}

impl Panel {
    fn draw(&self, end: f64, times: &[Tick], marks: &mut Vec<Mark>) {
        let (top, bottom) = self.edges;
        let highest = self.ticks.last().map_or(1.0, |tick| tick.at);
        let up = |value: f64| bottom - (bottom - top) * (value / highest);
        let rule =
            |left, top, width, height, colour| Mark::Rectangle { left, top, width, height, colour };
        for tick in &self.ticks {
            let y = up(tick.at);
            marks.push(rule(LEFT, y - 0.5, RIGHT - LEFT, 1.0, GRID));
            marks.push(text(LEFT - 8.0, y + 4.0, Anchor::End, Font::Label, PALE_INK, &tick.label));
        }
        for tick in times {
            marks.push(rule(across(tick.at, end) - 0.5, top, 1.0, bottom - top, GRID));
        }
        for line in &self.lines {
            let steps = line
                .values
                .iter()
                .map(|(start, stop, value)| (across(*start, end), across(*stop, end), up(*value)));
            let steps = steps.collect();
            marks.push(Mark::Steps { steps, ground: bottom, colour: line.colour });
        }
        marks.push(rule(LEFT, bottom - 0.5, RIGHT - LEFT, 1.0, EDGE));
        for tick in times {
            marks.push(rule(across(tick.at, end) - 0.5, bottom, 1.0, 5.0, EDGE));
        }
        marks.push(text(LEFT, top - 14.0, Anchor::Start, Font::Heading, INK, self.heading));
        self.draw_legend(top - 14.0, marks);
    }

    /// From the right edge to the left, the last line first.
    fn draw_legend(&self, baseline: f64, marks: &mut Vec<Mark>) {
        let mut x = RIGHT;
        for line in self.lines.iter().rev() {
            marks.push(text(x, baseline, Anchor::End, Font::Label, INK, &line.name));
            x -= line.name.len() as f64 * LETTER + 20.0;
            marks.push(Mark::Rectangle {
                left: x,
                top: baseline - 6.0,
                width: 14.0,
                height: 4.0,
                colour: line.colour,
            });
            x -= 22.0;
        }
    }
}

#[cfg(test)]
mod tests;
