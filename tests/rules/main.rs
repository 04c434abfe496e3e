//! Rules of the house that a compiler does not hold.

#![allow(missing_docs, reason = "a test binary has no public items")]

mod imports;
