//! Every example, run as its own documentation says, on a real cluster; and guests of
//! other makes: WASI 0.3, and a core module for preview 1.

use std::collections::BTreeMap;

use harness::{Cluster, Settings, artefacts};
use serde_json::Value;

use crate::desk::{guest, stderr, stdout};
use crate::{Desk, until};

mod picture;
mod services;

#[test]
fn hello_greets() {
    let desk = Desk::start();
    let run = ["run", &guest("hello"), "--env", "GREETING=Ahoy", "--", "you", "me"];
    assert_eq!(desk.says(&run), "Ahoy, you and me!\nI am task 0 of 1.\n");
}

/// Words as the example defines them, counted another way.
fn words(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut word = String::new();
    for letter in text.chars().chain([' ']) {
        if letter.is_alphanumeric() || letter == '\'' {
            word.extend(letter.to_lowercase());
            continue;
        }
        let whole = word.trim_matches('\'');
        if !whole.is_empty() {
            *counts.entry(whole.to_owned()).or_default() += 1;
        }
        word.clear();
    }
    counts
}

#[test]
fn word_count_counts_the_words_of_the_license() {
    let desk = Desk::start();
    let license = artefacts::checkout("LICENSE");
    let text = std::fs::read_to_string(&license).unwrap();
    let expected = words(&text);
    let path = license.to_str().unwrap();
    let job = desk.submit(&[&guest("word_count"), "--input", path]);
    desk.ended(&job);
    let counts: Value = serde_json::from_str(&desk.says(&["output", &job])).unwrap();
    assert_eq!(counts["lines"], text.lines().count());
    assert_eq!(counts["words"], expected.values().sum::<u64>());
    assert_eq!(counts["distinct"], expected.len());
    let most = counts["most_frequent"].as_array().unwrap();
    assert_eq!(most.len(), 10);
    for pair in most {
        assert_eq!(pair[1], expected[pair[0].as_str().unwrap()], "{pair}");
    }
    assert_eq!(&most[0][1], expected.values().max().unwrap());

    let job = desk.submit(&[&guest("word_count"), "--input", path, "--count", "5"]);
    desk.ended(&job);
    let share = |index: u32| -> u64 {
        let text = desk.says(&["output", &job, "--task", &index.to_string()]);
        serde_json::from_str::<Value>(&text).unwrap()["words"].as_u64().unwrap()
    };
    assert_eq!((0..5).map(share).sum::<u64>(), expected.values().sum::<u64>());
}

/// An array renders, a second job puts the tiles together, and the picture is the Mandelbrot
/// set, pixel by pixel. `WRUN_PICTURE` names a file where it is kept, to be looked at.
#[test]
fn tiles_of_an_array_are_one_picture() {
    let desk = Desk::start();
    let view = r#"{"width": 320, "height": 240, "iterations": 300}"#;
    let input = desk.write("view.json", view);
    let job = desk.submit(&[&guest("tiles"), "--input", input.to_str().unwrap(), "--count", "12"]);
    assert_eq!(desk.ended(&job)["tasks"]["succeeded"], 12);
    desk.says(&["output", &job, "-o", "tiles/"]);
    let tiles: Vec<String> = (0..12).map(|index| format!("/tiles/{index}")).collect();
    let mut stitch =
        vec!["run".to_owned(), guest("stitch"), "--mount".to_owned(), "tiles".to_owned()];
    stitch.extend(["--".to_owned(), "320x240".to_owned(), "4x3".to_owned()]);
    stitch.extend(tiles);
    let output = desk.wrun(&stitch);
    assert!(output.status.success(), "{}", stderr(&output));
    if let Some(path) = std::env::var_os("WRUN_PICTURE") {
        std::fs::write(path, &output.stdout).unwrap();
    }
    let picture = picture::Picture::of_png(&output.stdout);
    assert_eq!((picture.width, picture.height), (320, 240));
    let mut inside = 0;
    for (x, y) in (0..240).step_by(7).flat_map(|y| (0..320).step_by(7).map(move |x| (x, y))) {
        let (seen, expected) = (picture.pixel(x, y), picture::expected(x, y));
        let near = seen.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1);
        assert!(near, "at {x}, {y}: {seen:?}, not {expected:?}");
        inside += u32::from(seen == [0, 0, 0]);
    }
    assert!((1..1000).contains(&inside), "some points are in the set, most are not: {inside}");
}

/// Its worker is killed in the middle; another goes on from the checkpoint.
#[test]
fn primes_go_on_past_their_checkpoint_when_the_worker_is_killed() {
    const LIMIT: u64 = 1_000_000_000;
    let text = str::to_owned;
    let mut desk = Desk::of(Cluster::with(Settings {
        workers: 2,
        lease: text("800ms"),
        heartbeat: text("100ms"),
        ..Settings::default()
    }));
    let request = desk.write("r.json", format!("{{\"limit\": {LIMIT}, \"checkpoint_ms\": 100}}"));
    let job = desk.submit(&[&guest("primes"), "--input", request.to_str().unwrap()]);
    let (permille, first) = until("it is a fifth done", || {
        let task = desk.json(&["job", &job])["tasks_shown"][0].clone();
        let permille = task["progress_permille"].as_u64().filter(|done| *done >= 200)?;
        Some((permille, task["node_name"].as_str()?.to_owned()))
    });
    // What was done by now is in a checkpoint soon.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(desk.json(&["job", &job])["state"], "running", "it is killed in the middle");
    let place = first.trim_start_matches('w').parse::<usize>().unwrap() - 1;
    desk.cluster().workers[place].kill();

    let page = desk.ended(&job);
    assert_eq!(page["state"], "succeeded", "{page:#}");
    let task = &page["tasks_shown"][0];
    assert_eq!(task["attempts"], 2);
    assert_ne!(task["node_name"], first.as_str());
    let found: Value = serde_json::from_str(&desk.says(&["output", &job])).unwrap();
    assert_eq!((&found["count"], &found["largest"]), (&50_847_534.into(), &999_999_937.into()));
    assert_eq!(found["attempt"], 2);
    let resumed = found["resumed_from"].as_u64().unwrap();
    assert!(resumed >= permille * LIMIT / 1000, "it went on from {resumed}, at {permille}‰ before");
    let output = desk.wrun(&["logs", &job]);
    let logs = stdout(&output) + &stderr(&output);
    assert!(logs.contains(&format!("going on from {resumed}")), "{logs}");
}

#[test]
fn a_guest_of_wasi_0_3_runs() {
    let desk = Desk::start();
    let output = desk.wrun(&["run", &guest("noop_async")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let array = desk.submit(&[&guest("noop_async"), "--count", "20"]);
    assert_eq!(desk.ended(&array)["tasks"]["succeeded"], 20);
}

#[test]
fn a_core_module_for_preview_1_is_adapted() {
    let desk = Desk::start();
    let text = std::fs::read(artefacts::checkout("tests/guests/wat/preview1.wat")).unwrap();
    let module = wat::parse_bytes(&text).unwrap();
    assert_eq!(module[4..8], [1, 0, 0, 0], "a module, not a component");
    let path = desk.write("preview1.wasm", &module);
    let output = desk.wrun(&["run", path.to_str().unwrap()]);
    assert_eq!(stdout(&output), "from preview 1\n");
    // It ends with 3; the standard's adapter has only success and failure to say it in.
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}
