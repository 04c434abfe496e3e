//! A step of a workflow, told by its arguments what to do, in order: `sleep=MS`;
//! `lines=N` prints the numbers below N; `say=TEXT`; `square` reads a number and prints its
//! square; `gather=FOLDER` prints the files there in order of number; `show=FILE` prints that
//! file; `fail`, and `fail=CODE`.

use std::fs;
use std::io::Read;
use std::time::Duration;

fn main() {
    for argument in std::env::args().skip(1) {
        let (what, value) = argument.split_once('=').unwrap_or((&argument, ""));
        match what {
            "sleep" => std::thread::sleep(Duration::from_millis(value.parse().unwrap())),
            "lines" => (0..value.parse::<u32>().unwrap()).for_each(|number| println!("{number}")),
            "say" => println!("{value}"),
            "square" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).unwrap();
                let number: u32 = text.trim().parse().unwrap();
                println!("{}", number * number);
            }
            "gather" => {
                let names = fs::read_dir(value).unwrap().map(|entry| entry.unwrap().file_name());
                let mut names: Vec<String> =
                    names.map(|name| name.into_string().unwrap()).collect();
                names.sort_by_key(|name| name.parse::<u32>().unwrap());
                for name in names {
                    print!("{}", fs::read_to_string(format!("{value}/{name}")).unwrap());
                }
            }
            "show" => print!("{}", fs::read_to_string(value).unwrap()),
            "fail" => std::process::exit(value.parse().unwrap_or(1)),
            other => panic!("unknown: {other}"),
        }
    }
}
