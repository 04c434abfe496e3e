//! The messages as bytes: what is encoded reads back, what is not a message is refused
//! cheaply, and nothing that was ever sent changes its meaning.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod sample;
