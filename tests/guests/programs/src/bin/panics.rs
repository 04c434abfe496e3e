//! Panics.

fn main() {
    panic!("on purpose");
}
