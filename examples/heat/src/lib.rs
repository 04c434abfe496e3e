//! A gang: heat spreads through a rod that is hot at one end and cold at the other. Each
//! task has a part of the rod, and at every step exchanges the temperatures at its edges
//! with its neighbours. However many tasks there are, the result is the same to the last
//! bit.
//!
//! ```text
//! echo '{"cells": 300, "steps": 2000}' > request.json
//! wrun run heat.wasm --gang --count 3 --input request.json
//! ```

use serde::{Deserialize, Serialize};
use wrun_sdk::gang::{self, Membership};
use wrun_sdk::{Error, info, progress};

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// Cells of the rod, its two ends included.
    cells: usize,
    /// Steps in time.
    steps: u64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Response {
    /// The temperatures along the rod, as rank 0 has gathered them; of the others nothing.
    rod: Vec<f64>,
    /// Which execution of the gang it is of.
    attempt: u32,
}

/// Temperatures of the ends, which do not change.
const HOT: f64 = 100.0;
const COLD: f64 = 0.0;

/// What of a difference in temperature a step levels out.
const RATE: f64 = 0.25;

#[wrun_sdk::task]
fn heat(request: Request) -> Result<Response, Error> {
    let me = gang::current()?;
    if request.cells < me.size as usize {
        return Err(Error::new("the rod has fewer cells than the gang has tasks"));
    }
    let mut part = Part::new(me, request.cells);
    info!("rank {} of {} has {} cells", me.rank, me.size, part.cells.len());
    for step in 0..request.steps {
        part.exchange_edges()?;
        part.step();
        if step % 1000 == 0 {
            progress(step, request.steps, "heating");
        }
    }
    let rod = part.gather()?;
    // Nobody ends while another may still send to it.
    gang::barrier()?;
    Ok(Response { rod, attempt: me.attempt })
}

/// A task's part of the rod.
struct Part {
    me: Membership,
    cells: Vec<f64>,
    /// What lies before the first cell and after the last; `None` at an end of the rod.
    before: Option<f64>,
    after: Option<f64>,
}

impl Part {
    fn new(me: Membership, all: usize) -> Self {
        let (rank, size) = (me.rank as usize, me.size as usize);
        let (first, end) = (all * rank / size, all * (rank + 1) / size);
        let hot = |cell| if cell == 0 { HOT } else { COLD };
        Self { me, cells: (first..end).map(hot).collect(), before: None, after: None }
    }

    /// Gives the neighbours the temperatures at the edges, and takes theirs.
    fn exchange_edges(&mut self) -> Result<(), Error> {
        let Membership { rank, size, .. } = self.me;
        let (left, right) = (rank.checked_sub(1), (rank + 1 < size).then_some(rank + 1));
        if let (Some(left), Some(edge)) = (left, self.cells.first()) {
            gang::send(left, &edge.to_le_bytes())?;
        }
        if let (Some(right), Some(edge)) = (right, self.cells.last()) {
            gang::send(right, &edge.to_le_bytes())?;
        }
        self.before = left.map(temperature_of).transpose()?;
        self.after = right.map(temperature_of).transpose()?;
        Ok(())
    }

    fn step(&mut self) {
        let mut before = self.before;
        for cell in 0..self.cells.len() {
            let old = self.cells[cell];
            let after = self.cells.get(cell + 1).copied().or(self.after);
            if let (Some(before), Some(after)) = (before, after) {
                self.cells[cell] = old + RATE * (before - 2.0 * old + after);
            }
            before = Some(old);
        }
    }

    /// The whole rod, at rank 0.
    fn gather(&self) -> Result<Vec<f64>, Error> {
        if self.me.rank > 0 {
            let bytes: Vec<u8> = self.cells.iter().flat_map(|cell| cell.to_le_bytes()).collect();
            gang::send(0, &bytes)?;
            return Ok(Vec::new());
        }
        let mut rod = self.cells.clone();
        for rank in 1..self.me.size {
            let bytes = gang::receive_from(rank)?;
            rod.extend(
                bytes
                    .chunks_exact(8)
                    .filter_map(|cell| cell.first_chunk())
                    .map(|cell| f64::from_le_bytes(*cell)),
            );
        }
        Ok(rod)
    }
}

fn temperature_of(rank: u32) -> Result<f64, Error> {
    let bytes = gang::receive_from(rank)?;
    let bytes = bytes.try_into().map_err(|_| Error::new("a neighbour sent no temperature"))?;
    Ok(f64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_flows_from_the_hot_end_to_the_cold_one() {
        let rod = heat(Request { cells: 11, steps: 2000 }).unwrap().rod;
        let expected: Vec<f64> = (0..11).map(|cell| HOT - 10.0 * f64::from(cell)).collect();
        for (found, expected) in rod.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{rod:?}");
        }
    }
}
