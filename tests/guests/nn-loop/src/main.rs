//! A program that runs a model again and again, for benchmarks. Its arguments are what to do, the
//! model's name, and its inputs, each as NAME=TYPE:DIMS:VALUE; `?` for VALUE is one after another
//! of the same few numbers:
//!
//! ```text
//! time COUNT MODEL INPUT…      prints what the outputs add up to, and the nanoseconds of each run
//! until BEGIN END MODEL INPUT… runs it from BEGIN to END (milliseconds of the clock), prints how often
//! hold MODEL INPUT…            runs it once, says so, and keeps it until it is stopped
//! ```

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wrun_sdk::nn::{ElementType, Error, Model, Tensor};

type Failure = Box<dyn std::error::Error>;

/// A model with what it is run on.
struct Loop {
    model: Model,
    inputs: Vec<(String, Tensor)>,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["time", count, rest @ ..] => time(&Loop::new(rest)?, count.parse()?),
        ["until", begin, end, rest @ ..] => until(&Loop::new(rest)?, begin.parse()?, end.parse()?),
        ["hold", rest @ ..] => hold(&Loop::new(rest)?),
        _ => Err("say `time`, `until` or `hold`, and with what".into()),
    }
}

impl Loop {
    fn new(arguments: &[&str]) -> Result<Self, Failure> {
        let (name, inputs) = arguments.split_first().ok_or("say which model")?;
        let inputs: Result<_, Failure> = inputs.iter().map(|text| input(text)).collect();
        Ok(Self { model: Model::load(name)?, inputs: inputs? })
    }

    /// What the first output adds up to, so that nobody can leave out the reading of it.
    fn run(&self) -> Result<f64, Error> {
        let inputs = self.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone()));
        let outputs = self.model.run(inputs)?;
        let first = outputs.iter().next();
        let values = first.map(|(_, tensor)| tensor.to_vec::<f32>()).transpose()?;
        Ok(values.unwrap_or_default().into_iter().map(f64::from).sum())
    }
}

fn time(it: &Loop, count: usize) -> Result<(), Failure> {
    let mut sum = it.run()?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        sum = it.run()?;
        times.push(begun.elapsed());
    }
    println!("{sum}");
    times.iter().for_each(|time| println!("{}", time.as_nanos()));
    Ok(())
}

fn until(it: &Loop, begin: u64, end: u64) -> Result<(), Failure> {
    it.run()?;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (begin, end) = (Duration::from_millis(begin), Duration::from_millis(end));
    let early = begin.checked_sub(now()).ok_or("it began too late: let BEGIN be later")?;
    std::thread::sleep(early);
    let mut runs = 0_u64;
    while now() < end {
        it.run()?;
        runs += u64::from(now() <= end);
    }
    println!("{runs}");
    Ok(())
}

fn hold(it: &Loop) -> Result<(), Failure> {
    it.run()?;
    println!("holding");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn input(text: &str) -> Result<(String, Tensor), Failure> {
    let (name, rest) = text.split_once('=').ok_or("an input is NAME=TYPE:DIMS:VALUE")?;
    let parts: Vec<&str> = rest.split(':').collect();
    let [element, shape, value] = parts.as_slice() else {
        return Err("an input is NAME=TYPE:DIMS:VALUE".into());
    };
    let dims = shape.split('x').filter(|dim| !dim.is_empty()).map(str::parse);
    let shape = dims.collect::<Result<Vec<u32>, _>>()?;
    let count: u32 = shape.iter().product();
    let whole = |index: u32| value.parse().unwrap_or(i64::from(index % 17));
    let (element, data): (_, Vec<u8>) = match *element {
        "fp32" => {
            let number = |index| value.parse().unwrap_or((index % 17) as f32 / 17.0);
            (ElementType::Fp32, (0..count).flat_map(|index| number(index).to_le_bytes()).collect())
        }
        "i32" => {
            let number = |index| whole(index) as i32;
            (ElementType::I32, (0..count).flat_map(|index| number(index).to_le_bytes()).collect())
        }
        "i64" => {
            (ElementType::I64, (0..count).flat_map(|index| whole(index).to_le_bytes()).collect())
        }
        _ => return Err("a type is fp32, i32 or i64".into()),
    };
    Ok((name.to_owned(), Tensor::from_bytes(&shape, element, data)?))
}
