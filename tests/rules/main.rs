//! Rules of the house that a compiler does not hold.

mod architecture;
mod engine;
mod imports;
mod layout;
