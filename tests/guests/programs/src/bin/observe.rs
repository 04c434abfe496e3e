//! Prints whatever it can observe, a line for each thing. Of a deterministic task, each run
//! prints the same, wherever and whenever it runs.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use wasip2::filesystem::types::{Descriptor, PathFlags};

fn main() {
    for (name, value) in env::vars() {
        println!("env {name}={value}");
    }
    println!("args {:?}", env::args().collect::<Vec<_>>());
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    println!("input {input:?}");
    times();
    randomness();
    files();
    eprintln!("log {:?}", SystemTime::now().duration_since(UNIX_EPOCH));
    if env::args().any(|argument| argument == "fail") {
        std::process::exit(3);
    }
}

fn times() {
    let (begun, wall) = (Instant::now(), SystemTime::now());
    println!("wall {:?}", wall.duration_since(UNIX_EPOCH).unwrap());
    thread::sleep(Duration::from_secs(3600));
    println!("slept {:?} {:?}", begun.elapsed(), wall.elapsed().unwrap());
    let mut turns = 0_u64;
    while begun.elapsed() < Duration::from_secs(3601) {
        turns += 1;
    }
    println!("turned {turns}");
}

fn randomness() {
    println!("random {:?}", wasip2::random::random::get_random_bytes(40));
    println!("random {}", wasip2::random::random::get_random_u64());
    println!("insecure {:?}", wasip2::random::insecure::get_insecure_random_bytes(40));
    println!("seed {:?}", wasip2::random::insecure_seed::insecure_seed());
    println!("hash {}", RandomState::new().build_hasher().finish());
    let map: HashMap<_, _> = (0..40).map(|number| (number, ())).collect();
    println!("map {:?}", map.keys().collect::<Vec<_>>());
    println!("address {:?}", std::ptr::from_ref(&map));
}

fn files() {
    fs::create_dir("/scratch/deep").unwrap();
    for name in ["zebra", "ant", "mole", "bee", "owl", "yak", "cat", "dog", "elk", "fox"] {
        let mut file = fs::File::create(format!("/scratch/{name}")).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        file.sync_all().unwrap();
    }
    fs::remove_file("/scratch/owl").unwrap();
    fs::write("/scratch/new", "new").unwrap();
    fs::rename("/scratch/new", "/scratch/ant").unwrap();
    let touched = fs::File::open("/scratch/bee").unwrap().set_modified(UNIX_EPOCH);
    println!("touched {}", touched.is_ok());
    for (root, path) in wasip2::filesystem::preopens::get_directories() {
        list(&root, &path);
    }
    println!("connect {}", std::net::TcpStream::connect("127.0.0.1:22").is_ok());
}

fn list(folder: &Descriptor, name: &str) {
    let found = folder.stat().unwrap();
    let number = folder.metadata_hash().unwrap().lower;
    println!("folder {name} {found:?} number {number}");
    let entries = folder.read_directory().unwrap();
    while let Some(entry) = entries.read_directory_entry().unwrap() {
        let found = folder.stat_at(PathFlags::empty(), &entry.name).unwrap();
        let number = folder.metadata_hash_at(PathFlags::empty(), &entry.name).unwrap();
        println!("file {} {found:?} number {number:?}", entry.name);
    }
}
