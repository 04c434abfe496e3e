use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1000;
const DAY_MS: u64 = DAY_MINUTES * MINUTE_MS;

fn cron(text: &str) -> Cron {
    text.parse().unwrap()
}

/// An instant by the calendar, counted year by year as a person would.
fn at(text: &str) -> Timestamp {
    let part = |range: std::ops::Range<usize>| text[range].parse::<u64>().unwrap();
    let (year, month, day) = (part(0..4), part(5..7), part(8..10));
    let leap = |year: u64| {
        u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)))
    };
    let months = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = (1970..year).map(|year| 365 + leap(year)).sum::<u64>()
        + months[..month as usize - 1].iter().sum::<u64>()
        + day
        - 1;
    Timestamp(((days * 24 + part(11..13)) * 60 + part(14..16)) * MINUTE_MS)
}

/// The next `N` instants.
fn next<const N: usize>(text: &str, from: &str) -> [Timestamp; N] {
    let (cron, mut last) = (cron(text), at(from));
    std::array::from_fn(|_| {
        last = cron.next_after(last).unwrap();
        last
    })
}

#[test]
fn fields_mean_what_crontab_says() {
    assert_eq!(
        next("0 3 * * *", "2026-11-23 02:59"),
        [at("2026-11-23 03:00"), at("2026-11-24 03:00")]
    );
    assert_eq!(
        next("*/20 8-9 * * mon-fri", "2026-11-20 09:30"),
        [at("2026-11-20 09:40"), at("2026-11-23 08:00"), at("2026-11-23 08:20")]
    );
    assert_eq!(
        next("30 4 1,15 * *", "2026-12-16 00:00"),
        [at("2027-01-01 04:30"), at("2027-01-15 04:30")]
    );
    assert_eq!(
        next("5-10/5 0 1 JAN,Jul *", "2026-01-01 00:05"),
        [at("2026-01-01 00:10"), at("2026-07-01 00:05")]
    );
}

#[test]
fn an_instant_itself_is_not_after_it() {
    assert_eq!(next("0 3 * * *", "2026-11-23 03:00"), [at("2026-11-24 03:00")]);
    let just_before = Timestamp(at("2026-11-23 03:00").0 - 1);
    assert_eq!(cron("0 3 * * *").next_after(just_before), Some(at("2026-11-23 03:00")));
    assert_eq!(cron("0 3 * * *").last_until(just_before), Some(at("2026-11-22 03:00")));
    let itself = at("2026-11-23 03:00");
    assert_eq!(cron("0 3 * * *").last_until(itself), Some(itself));
}

#[test]
fn where_both_fields_of_days_are_restricted_either_will_do() {
    // The 13th, and every Friday.
    assert_eq!(
        next("0 0 13 * fri", "2026-11-05 00:00"),
        [
            at("2026-11-06 00:00"),
            at("2026-11-13 00:00"),
            at("2026-11-20 00:00"),
            at("2026-11-27 00:00"),
            at("2026-12-04 00:00"),
            at("2026-12-11 00:00"),
            at("2026-12-13 00:00"),
        ]
    );
    // A field that begins with `*` restricts nothing: odd days that are Fridays.
    assert_eq!(
        next("0 0 */2 * 5", "2026-11-05 00:00"),
        [at("2026-11-13 00:00"), at("2026-11-27 00:00")]
    );
}

#[test]
fn sunday_is_0_and_7() {
    for text in ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "@weekly"] {
        assert_eq!(next(text, "2026-11-23 00:00"), [at("2026-11-29 00:00")], "{text}");
    }
    let weekend = next("0 0 * * 6-7", "2026-11-23 00:00");
    assert_eq!(weekend, [at("2026-11-28 00:00"), at("2026-11-29 00:00")]);
}

#[test]
fn nicknames_stand_for_fields() {
    let day = "2026-11-23 05:30";
    for (text, due) in [
        ("@hourly", "2026-11-23 06:00"),
        ("@daily", "2026-11-24 00:00"),
        ("@midnight", "2026-11-24 00:00"),
        ("@monthly", "2026-12-01 00:00"),
        ("@yearly", "2027-01-01 00:00"),
        ("@annually", "2027-01-01 00:00"),
    ] {
        assert_eq!(next(text, day), [at(due)], "{text}");
    }
}

#[test]
fn every_counts_from_the_epoch_wherever_it_starts() {
    assert_eq!(
        next("@every 90m", "2026-11-23 00:10"),
        [at("2026-11-23 01:30"), at("2026-11-23 03:00")]
    );
    assert_eq!(cron("@every 5s").next_after(Timestamp(12_345)), Some(Timestamp(15 * SECOND)));
    assert_eq!(cron("@every 5s").last_until(Timestamp(12_345)), Some(Timestamp(10 * SECOND)));
    assert_eq!(cron("@every 5s").next_after(Timestamp(u64::MAX)), None);
}

#[test]
fn leap_days_come_when_they_come() {
    assert_eq!(
        next("0 0 29 2 *", "2026-11-23 00:00"),
        [at("2028-02-29 00:00"), at("2032-02-29 00:00")]
    );
    assert_eq!(next("0 0 29 2 *", "2096-03-01 00:00"), [at("2104-02-29 00:00")]);
    // Restricted by `*/7`, it must be a Sunday too: the longest wait there is.
    assert_eq!(next("0 0 29 2 */7", "2088-03-01 00:00"), [at("2128-02-29 00:00")]);
}

#[test]
fn the_least_gap_is_known_without_a_calendar() {
    for (text, minutes) in [
        ("* * * * *", 1),
        ("*/15 * * * *", 15),
        ("0,59 * * * *", 1),
        ("50 23 * * *", 24 * 60),
        ("0 0,23 1 1 *", 60),
        ("@every 7m", 7),
    ] {
        assert_eq!(cron(text).least_gap(), Duration::from_secs(minutes * 60), "{text}");
    }
}

#[test]
fn what_is_no_expression_is_told_what_to_write() {
    for (text, says) in [
        ("", "has 0 fields; write five"),
        ("0 3 * *", "has 4 fields; write five"),
        ("0 0 3 * * *", "has 6 fields; write five"),
        ("60 * * * *", "`60` in the field minute: use 0 to 59"),
        ("* 24 * * *", "`24` in the field hour: use 0 to 23"),
        ("* * 0 * *", "`0` in the field day of the month: use 1 to 31"),
        ("* * * 13 *", "`13` in the field month: use 1 to 12, or jan to dec"),
        ("* * * * 8", "`8` in the field day of the week: use 0 to 7, or sun to sat"),
        ("* * * * mo", "use 0 to 7, or sun to sat"),
        ("-1 * * * *", "use 0 to 59"),
        ("+1 * * * *", "use 0 to 59"),
        ("1, * * * *", "`` in the field minute: use 0 to 59"),
        ("* 22-2 * * *", "the range runs backwards; write it as two, like 22-23,0-2"),
        ("5/15 * * * *", "a step needs a range; write `*` or 5-59 before it"),
        ("*/0 * * * *", "a step is a whole number from 1"),
        ("*/x * * * *", "a step is a whole number from 1"),
        ("0 0 31 2 *", "is never due"),
        ("0 0 30-31 feb *", "is never due"),
        ("@reboot", "`@reboot` is unknown: use @hourly"),
        ("@every", "`@every` is unknown: use @hourly"),
        ("@every 5", "write a whole number with one unit"),
        ("@every 0s", "write a whole number with one unit"),
        ("@every 1h30m", "write a whole number with one unit"),
        ("@every 367d", "up to 366d"),
        ("@every 99999999999999999999s", "write a whole number with one unit"),
    ] {
        let error = text.parse::<Cron>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let long = "0,".repeat(MAX_CRON);
    assert_eq!(long.parse::<Cron>(), Err(CronError::TooLong(2 * MAX_CRON)));
}

/// A field as text, and the values it holds.
fn field(lowest: u64, highest: u64) -> impl Strategy<Value = (String, Vec<u64>)> {
    let all = (lowest..=highest).collect::<Vec<_>>();
    let star = Just(("*".to_owned(), all.clone()));
    let step = (2..7_usize)
        .prop_map(move |step| (format!("*/{step}"), all.iter().copied().step_by(step).collect()));
    let list = prop::collection::btree_set(lowest..=highest, 1..4).prop_map(|values| {
        let parts: Vec<String> = values.iter().map(u64::to_string).collect();
        (parts.join(","), values.into_iter().collect())
    });
    prop_oneof![star, step, list]
}

proptest! {
    /// Minute by minute, over some weeks, with a calendar that is counted on day by day.
    #[test]
    fn the_next_and_the_last_are_those_that_looking_at_each_minute_finds(
        (minute, minutes) in field(0, 59),
        (hour, hours) in field(0, 23),
        (day, days) in field(1, 31),
        (weekday, weekdays) in field(0, 6),
        start in 1..20_000_u64,
    ) {
        let cron = cron(&format!("{minute} {hour} {day} * {weekday}"));
        let either = !day.starts_with('*') && !weekday.starts_with('*');
        let fits = |since_epoch: u64| {
            let (in_month, in_week) = (
                days.contains(&month_and_day(since_epoch).1),
                weekdays.contains(&((since_epoch + 4) % 7)),
            );
            if either { in_month || in_week } else { in_month && in_week }
        };
        let due: Vec<u64> = (start..start + 40)
            .filter(|day| fits(*day))
            .flat_map(|day| {
                let (hours, minutes) = (&hours, &minutes);
                let of_hour = move |hour: &u64| {
                    let hour = (day * 24 + hour) * 60;
                    minutes.iter().map(move |minute| (hour + minute) * MINUTE_MS)
                };
                hours.iter().flat_map(of_hour)
            })
            .collect();
        let end = (start + 40) * DAY_MS;
        let before = cron.next_after(Timestamp(start * DAY_MS - 1));
        let found = std::iter::successors(before, |last| cron.next_after(*last));
        let found: Vec<u64> = found.map(|due| due.0).take_while(|due| *due < end).collect();
        prop_assert_eq!(&found, &due);
        let gap = u64::try_from(cron.least_gap().as_millis()).unwrap();
        for pair in due.windows(2) {
            prop_assert_eq!(cron.last_until(Timestamp(pair[1] - 1)), Some(Timestamp(pair[0])));
            prop_assert_eq!(cron.last_until(Timestamp(pair[1])), Some(Timestamp(pair[1])));
            prop_assert!(pair[1] - pair[0] >= gap);
        }
    }

    #[test]
    fn days_are_counted_on_without_a_gap(since_epoch in 0..400_000_u64) {
        let (month, day) = month_and_day(since_epoch);
        let (next_month, next_day) = month_and_day(since_epoch + 1);
        let goes_on = (next_month, next_day) == (month, day + 1);
        let turns = next_day == 1 && next_month == month % 12 + 1 && (28..=31).contains(&day);
        prop_assert!(goes_on || turns, "{month}-{day} then {next_month}-{next_day}");
    }

    #[test]
    fn reading_never_panics(text in ".{0,40}") {
        let _ = text.parse::<Cron>();
    }
}
