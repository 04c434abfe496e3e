//! A WASI 0.3 program that starts calls that never end, one after the other, without end.
//! With an argument it stops after so many and waits for all of them.

use std::time::Duration;

use wasip3::cli::environment;
use wasip3::clocks::monotonic_clock;

struct Program;

wasip3::cli::command::export!(Program);

impl wasip3::exports::cli::run::Guest for Program {
    async fn run() -> Result<(), ()> {
        let most = environment::get_arguments().get(1).and_then(|most| most.parse().ok());
        let forever = Duration::from_secs(365 * 24 * 3600).as_nanos() as u64;
        let mut started = 0_u64;
        while most.is_none_or(|most| started < most) {
            wasip3::spawn_local(monotonic_clock::wait_for(forever));
            started += 1;
            // A turn of the loop, so that what was spawned is started.
            if started.is_multiple_of(100) {
                monotonic_clock::wait_for(1).await;
                println!("{started} started");
            }
        }
        monotonic_clock::wait_for(forever).await;
        Ok(())
    }
}
