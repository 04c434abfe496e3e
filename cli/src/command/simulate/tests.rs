//! Whole pages, as they were reviewed; and what is refused.

use std::path::PathBuf;

use clap::Parser;

use super::*;
use crate::syntax::{Cli, Command};

/// Lines of `job submit run processors limit user`, as a trace, after `header`.
fn trace(header: &str, jobs: &[(u32, u32, u32, u32, i32, u32)]) -> String {
    let lines = jobs.iter().map(|(job, submit, run, processors, limit, user)| {
        format!("{job} {submit} -1 {run} {processors} -1 -1 -1 {limit} -1 1 {user} 1 1 1 1 -1 -1\n")
    });
    header.to_owned() + &lines.collect::<String>()
}

/// On two processors, never more than one of them waits: any policy gives the same.
const SMALL: [(u32, u32, u32, u32, i32, u32); 6] = [
    (1, 0, 100, 1, 120, 7),
    (2, 10, 50, 1, 60, 7),
    (3, 20, 30, 1, 40, 8),
    (4, 65, 200, 1, -1, 8),
    (5, 400, 5, 1, 10, 9),
    (6, 401, 60, 1, 60, 9),
];

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Files are named by themselves; the folder is put before them.
    fn simulate(&self, line: &str) -> Result<Simulation, Error> {
        let words = line.split(' ').map(|word| match word.contains('.') && !word.contains("1.") {
            true => self.0.path().join(word).display().to_string(),
            false => word.to_owned(),
        });
        let words = ["wrun".to_owned(), "simulate".to_owned()].into_iter().chain(words);
        let Command::Simulate(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        perform(Console::detect(false), &args)
    }

    fn refusal(&self, line: &str) -> String {
        let error = self.simulate(line).err().unwrap().to_string();
        error.replace(&self.0.path().display().to_string(), "")
    }

    /// The page without its folder and without what differs from time to time.
    fn page(&self, line: &str) -> String {
        let simulation = self.simulate(line).unwrap();
        let page = simulation::page(Console::detect(false), &simulation);
        let folder = format!("{}/", self.0.path().display());
        page.split("\nscheduler ").next().unwrap().trim_end().replace(&folder, "") + "\n"
    }
}

fn assert_golden(name: &str, text: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/command/simulate/golden/");
    let path = format!("{folder}{name}");
    if std::env::var_os("WRUN_BLESS").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "look at it and run the tests with WRUN_BLESS=1:\n{text}");
}

#[test]
fn the_page_of_a_small_trace_is_as_it_was_reviewed() {
    let desk = Desk::new();
    let bad = "what is this\n7 0 -1 -1 4 -1 -1 -1 -1 -1 1 7 1 1 1 1 -1 -1\n\
               8 0 -1 9 5 -1 -1 -1 -1 -1 1 7 1 1 1 1 -1 -1\n";
    desk.put("small.swf", trace("; MaxProcs: 2\n", &SMALL) + bad);
    assert_golden("page.txt", &desk.page("small.swf"));
}

#[test]
fn sequences_are_a_table_with_their_mean() {
    let desk = Desk::new();
    desk.put("small.swf", trace("; MaxProcs: 2\n", &SMALL));
    assert_golden("sequences.txt", &desk.page("small.swf --sequences 0,1,3 --jobs 3"));
}

#[test]
fn a_filling_is_a_table_with_its_mean() {
    let desk = Desk::new();
    desk.put("pods.csv", "name,cpu_milli,num_gpu,gpu_milli\na,4000,1,400\nb,100,2,1000\n");
    desk.put(
        "nodes.csv",
        "sn,cpu_milli,memory_mib,gpu,model\nx,64000,1024,4,T4\ny,64000,1024,2,T4\n",
    );
    let page = desk.page("pods.csv --cluster nodes.csv --fill 1.3 --seeds 3");
    assert!(page.contains("2 nodes, 128 processors, 6 GPUs"), "{page}");
    assert_eq!(page.lines().filter(|line| line.contains('%')).count(), 4, "{page}");
}

#[test]
fn compressed_and_plain_traces_are_the_same() {
    use std::io::Write;
    let desk = Desk::new();
    let text = trace("; MaxProcs: 2\n", &SMALL);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    desk.put("small.swf", &text);
    desk.put("packed.swf", gzip.finish().unwrap());
    assert_eq!(desk.page("small.swf"), desk.page("packed.swf").replace("packed", "small"));
}

#[test]
fn jobs_and_pictures_are_written() {
    let desk = Desk::new();
    desk.put("small.swf", trace("; MaxProcs: 2\n", &SMALL));
    desk.simulate("small.swf --jobs-csv jobs.csv --plot plot.svg").unwrap();
    desk.simulate("small.swf --plot plot.png").unwrap();
    let read = |name: &str| std::fs::read(desk.0.path().join(name)).unwrap();
    assert_golden("jobs.csv", &String::from_utf8(read("jobs.csv")).unwrap());
    assert!(read("plot.svg").starts_with(b"<svg ") && read("plot.png").starts_with(b"\x89PNG"));
}

#[test]
fn what_cannot_be_simulated_is_refused_with_what_to_do() {
    let desk = Desk::new();
    desk.put("small.swf", trace("", &SMALL));
    desk.put("cut.swf", [0x1f, 0x8b, 8, 0, 0]);
    desk.put("pods.csv", "name,cpu_milli\na,4000\n");
    for (line, expected) in [
        ("none.swf", "cannot read `/none.swf`: there is no such file; check the path"),
        ("cut.swf", "`/cut.swf` is no trace: cannot read on after line 0"),
        ("small.swf", "does not say how large its cluster was; say it with --processors"),
        (
            "small.swf --processors 2 --first 5 --jobs 2",
            "jobs 5 to 6 are asked for, and the last one is 5",
        ),
        ("pods.csv --nodes 1 --cpu 1", "none of the trace's 1 jobs can be simulated"),
        ("pods.csv --nodes 1 --cpu 8 --fill 1.3", "the cluster has no GPU"),
        ("small.swf --processors 2 --plot none/plot.svg", "there is no such file"),
        (
            "pods.csv --cluster small.swf",
            "`/small.swf` is no trace: the first line names no column cpu_milli",
        ),
    ] {
        let error = desk.refusal(line);
        assert!(error.contains(expected), "{line}: {error}");
    }
}
