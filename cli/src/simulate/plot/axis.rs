//! Where an axis has its ticks: at round numbers, and what stands beside them.

use crate::report::human::grouped;

/// Units of time with the steps that are round in each, in seconds.
const TIME: [(f64, &str, &[f64]); 4] = [
    (1.0, "s", &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0]),
    (60.0, "min", &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0]),
    (3600.0, "h", &[1.0, 2.0, 3.0, 6.0, 12.0]),
    (86_400.0, "d", &[1.0, 2.0, 7.0]),
];

/// A place on an axis and what stands there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// At most `most` ticks from zero to `end` seconds.
pub(super) fn time(end: f64, most: u32) -> Vec<Tick> {
    let least = end / f64::from(most);
    let steps = TIME
        .iter()
        .flat_map(|(unit, name, steps)| steps.iter().map(move |step| (step * unit, *unit, *name)));
    let (step, unit, name) = steps
        .into_iter()
        .find(|(step, ..)| *step >= least)
        .unwrap_or_else(|| (round(least / 86_400.0) * 86_400.0, 86_400.0, "d"));
    ticks(end, step, |at| match at {
        0.0 => "0".to_owned(),
        at => format!("{} {name}", grouped((at / unit).round() as u64)),
    })
}

/// Ticks of a count from zero to at least `highest`; the last one is the axis' end.
pub(super) fn count(highest: f64, most: u32) -> Vec<Tick> {
    let step = round(highest / f64::from(most)).max(1.0);
    let end = (highest / step).ceil().max(1.0) * step;
    ticks(end, step, |at| grouped(at.round() as u64))
}

/// Ticks from nothing to all.
pub(super) fn share() -> Vec<Tick> {
    ticks(1.0, 0.25, |at| format!("{:.0} %", at * 100.0))
}

fn ticks(end: f64, step: f64, label: impl Fn(f64) -> String) -> Vec<Tick> {
    // A little more than the end, so that rounding does not lose the last one.
    let count = (end / step + 1e-9) as u32;
    let places = (0..=count).map(|number| f64::from(number) * step);
    places.map(|at| Tick { at, label: label(at) }).collect()
}

/// The least of 1, 2 and 5 times a power of ten that is not below `value`.
fn round(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= value * (1.0 - 1e-9)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn time_is_told_in_the_unit_of_its_steps() {
        assert_eq!(labels(&time(50.0, 6)), ["0", "10 s", "20 s", "30 s", "40 s", "50 s"]);
        assert_eq!(
            labels(&time(5000.0, 6)),
            ["0", "15 min", "30 min", "45 min", "60 min", "75 min"]
        );
        assert_eq!(labels(&time(40.0 * 3600.0, 6)), ["0", "12 h", "24 h", "36 h"]);
        assert_eq!(labels(&time(10.0 * 86_400.0, 6)), ["0", "2 d", "4 d", "6 d", "8 d", "10 d"]);
        assert_eq!(labels(&time(900.0 * 86_400.0, 6)), ["0", "200 d", "400 d", "600 d", "800 d"]);
        assert_eq!(labels(&time(20_000.0 * 86_400.0, 4))[1], "5,000 d");
    }

    #[test]
    fn counts_have_whole_steps_and_room_for_the_highest() {
        assert_eq!(labels(&count(0.0, 4)), ["0", "1"]);
        assert_eq!(labels(&count(3.2, 4)), ["0", "1", "2", "3", "4"]);
        assert_eq!(labels(&count(7.0, 4)), ["0", "2", "4", "6", "8"]);
        assert_eq!(labels(&count(1000.0, 4)), ["0", "500", "1,000"]);
        assert_eq!(labels(&count(1_200_000.0, 4)), ["0", "500,000", "1,000,000", "1,500,000"]);
    }

    #[test]
    fn no_axis_has_many_ticks() {
        for exponent in 0..60 {
            let end = 1.7_f64.powi(exponent);
            assert!((2..=7).contains(&count(end, 5).len()), "{end}");
            assert!((1..=7).contains(&time(end, 6).len()), "{end}");
        }
    }

    #[test]
    fn shares_go_up_to_all() {
        assert_eq!(labels(&share()), ["0 %", "25 %", "50 %", "75 %", "100 %"]);
    }
}
