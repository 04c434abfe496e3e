//! A task of a gang, and a program: `wasi:cli/run` that imports `wrun:gang/exchange`. What it
//! does its first argument says.

use std::time::{Duration, Instant};

use wrun_sdk::gang::{self, GangError, Membership};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (what, number) = match arguments.as_slice() {
        [what] => (what.as_str(), 0),
        [what, number] => (what.as_str(), number.parse()?),
        _ => return Err("say what to do, and how often or how much".into()),
    };
    match what {
        "ring" => ring(number),
        "order" => order(number),
        "large" => large(number),
        "flood" => flood(),
        "alone" => alone(),
        "leave" => leave(),
        "ping" => ping(number),
        "stream" => stream(number),
        other => Err(format!("it does not know how to `{other}`").into()),
    }
}

/// A sum goes around the ring so often; every message says of which attempt it is, and one of
/// another is a failure. Prints the sum and the attempt at rank 0.
fn ring(rounds: u64) -> Result<(), Failure> {
    let me = gang::current()?;
    let mut sum = 0;
    for _ in 0..rounds {
        if me.rank == 0 {
            send_sum(&me, sum + 1)?;
            sum = receive_sum(&me)?;
        } else {
            sum = receive_sum(&me)?;
            send_sum(&me, sum + u64::from(me.rank) + 1)?;
        }
        gang::barrier()?;
        std::thread::sleep(Duration::from_millis(10));
    }
    if me.rank == 0 {
        println!("{sum} in attempt {}", me.attempt);
    }
    Ok(())
}

fn send_sum(me: &Membership, sum: u64) -> Result<(), Failure> {
    let mut message = me.attempt.to_le_bytes().to_vec();
    message.extend(sum.to_le_bytes());
    Ok(gang::send(me.next(), &message)?)
}

fn receive_sum(me: &Membership) -> Result<u64, Failure> {
    let message = gang::receive_from(me.previous())?;
    let (attempt, sum) = message.split_first_chunk().ok_or("no attempt in it")?;
    let attempt = u32::from_le_bytes(*attempt);
    if attempt != me.attempt {
        return Err(format!("a message of attempt {attempt} in attempt {}", me.attempt).into());
    }
    Ok(u64::from_le_bytes(sum.try_into()?))
}

/// Everybody sends so many numbered messages of all sizes to everybody, and finds each
/// sender's in order.
fn order(count: u64) -> Result<(), Failure> {
    let me = gang::current()?;
    let mut sent = 0;
    let mut expected = vec![0; me.size as usize];
    while sent < count || expected.iter().any(|next| *next < count) {
        if sent < count {
            let size = [0, 10, 3000, 40_000][(sent % 4) as usize];
            let mut content = sent.to_le_bytes().to_vec();
            content.resize(8 + size, 7);
            for rank in 0..me.size {
                gang::send(rank, &content)?;
            }
            sent += 1;
        }
        for _ in 0..me.size {
            let message = gang::receive()?;
            let next = &mut expected[message.sender as usize];
            let number = message.content.first_chunk().ok_or("no number in it")?;
            if u64::from_le_bytes(*number) != *next {
                return Err(format!("{} sent another than {next}", message.sender).into());
            }
            *next += 1;
        }
    }
    println!("all in order");
    Ok(())
}

/// Everybody sends a large message to the right before it receives one from the left.
fn large(size: u64) -> Result<(), Failure> {
    let me = gang::current()?;
    let content = vec![me.rank as u8; size as usize];
    gang::send(me.next(), &content)?;
    let received = gang::receive_from(me.previous())?;
    let whole = received.len() == content.len();
    if !whole || received.iter().any(|byte| u32::from(*byte) != me.previous()) {
        return Err("it is not what was sent".into());
    }
    let beyond = vec![0; (16 << 20) + 1];
    assert!(matches!(gang::send(me.next(), &beyond), Err(GangError::TooLarge { .. })));
    gang::barrier()?;
    Ok(())
}

/// Rank 0 sends without end to rank 1, which never receives.
fn flood() -> Result<(), Failure> {
    let me = gang::current()?;
    if me.rank > 0 {
        std::thread::sleep(Duration::from_secs(3600));
    }
    let content = vec![1; 1000];
    for number in 1_u64.. {
        gang::send(1, &content)?;
        println!("{number}");
    }
    Ok(())
}

/// All but rank 0 end without a word. What it is told that waits for them.
fn leave() -> Result<(), Failure> {
    let me = gang::current()?;
    if me.rank == 0 {
        println!("{}", gang::receive_from(me.size - 1).unwrap_err());
        println!("{}", gang::barrier().unwrap_err());
        println!("{}", gang::receive().unwrap_err());
    }
    Ok(())
}

/// What a task is told that is of no gang.
fn alone() -> Result<(), Failure> {
    println!("{:?} {:?}", gang::current().unwrap_err(), gang::send(0, b"x").unwrap_err());
    Ok(())
}

/// The time that a short message takes to rank 1 and back.
fn ping(rounds: u64) -> Result<(), Failure> {
    let me = gang::current()?;
    gang::barrier()?;
    let begun = Instant::now();
    for _ in 0..rounds {
        if me.rank == 0 {
            gang::send(1, b"ping")?;
            gang::receive_from(1)?;
        } else if me.rank == 1 {
            gang::receive_from(0)?;
            gang::send(0, b"pong")?;
        }
    }
    if me.rank == 0 {
        println!("{:?} there and back", begun.elapsed() / u32::try_from(rounds)?);
    }
    Ok(())
}

/// So many messages of 100 bytes a second reach rank 1, and so many large ones.
fn stream(count: u64) -> Result<(), Failure> {
    let me = gang::current()?;
    for (count, size) in [(count, 100), (count / 100, 1 << 20)] {
        gang::barrier()?;
        let begun = Instant::now();
        let content = vec![1; size];
        for _ in 0..count {
            if me.rank == 0 {
                gang::send(1, &content)?;
            } else if me.rank == 1 {
                gang::receive_from(0)?;
            }
        }
        gang::barrier()?;
        if me.rank == 0 {
            let rate = count as f64 / begun.elapsed().as_secs_f64();
            let bytes = rate * size as f64 / 1e6;
            println!("{rate:.0} messages of {size} bytes a second, {bytes:.0} MB/s");
        }
    }
    Ok(())
}
