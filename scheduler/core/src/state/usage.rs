//! What tenants hold and have held: allocated resources over time, to the millisecond.
//!
//! Time is integrated in whole numbers whenever what a tenant holds changes, between the
//! instants of the facts that changed it, whatever became of the tasks. Beside the sums
//! stands a charge that forgets: it halves within the policy's half-life, in
//! [`STEPS`] steps, at instants that do not depend on when anything happened; so that equal
//! histories give equal charges, however finely they are cut.

use serde::{Deserialize, Serialize};
use wrun_protocol::policy::{Charge, Policy};
use wrun_protocol::{Resources, Timestamp};

use super::groups::TenantIx;

/// In so many steps a charge halves.
const STEPS: u64 = 256;
/// What is left of a charge after one step, by 2^32: the 256th root of one half.
const KEPT: u128 = 4_283_353_945;
/// A charge has gone after so many steps.
const FORGOTTEN: u64 = 128 * STEPS;

/// One unit of what a charge counts in, as [`Charge`] has it: thousandths by seconds.
const PER_THOUSANDTH: u128 = 1_000_000;

/// What is held at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) cpu_milli: u64,
    pub(crate) memory: u64,
    pub(crate) gpu_milli: u64,
}

impl Held {
    /// What `count` tasks hold.
    pub(crate) fn of(each: &Resources, gpu_milli: u32, count: u32) -> Self {
        let count = u64::from(count);
        Self {
            cpu_milli: u64::from(each.cpu_milli).saturating_mul(count),
            memory: each.memory.saturating_mul(count),
            gpu_milli: u64::from(gpu_milli).saturating_mul(count),
        }
    }

    pub(crate) fn max(&self, other: &Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory: self.memory.max(other.memory),
            gpu_milli: self.gpu_milli.max(other.gpu_milli),
        }
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.cpu_milli = self.cpu_milli.saturating_add(more.cpu_milli);
        self.memory = self.memory.saturating_add(more.memory);
        self.gpu_milli = self.gpu_milli.saturating_add(more.gpu_milli);
    }

    pub(crate) fn take(&mut self, less: &Self) {
        self.cpu_milli = self.cpu_milli.saturating_sub(less.cpu_milli);
        self.memory = self.memory.saturating_sub(less.memory);
        self.gpu_milli = self.gpu_milli.saturating_sub(less.gpu_milli);
    }
}

/// What was held, by how long: thousandths and bytes by milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) cpu_milli_ms: u128,
    pub(crate) memory_byte_ms: u128,
    pub(crate) gpu_milli_ms: u128,
    /// What that was charged, as far as it is not forgotten.
    charge: u128,
}

impl Used {
    pub(crate) fn add(&mut self, more: &Self) {
        self.cpu_milli_ms += more.cpu_milli_ms;
        self.memory_byte_ms += more.memory_byte_ms;
        self.gpu_milli_ms += more.gpu_milli_ms;
        self.charge += more.charge;
    }

    /// The charge, as exactly as it is known; only to compare.
    pub(crate) fn charge(&self) -> u128 {
        self.charge
    }

    /// The charge in thousandths of a unit.
    pub(crate) fn thousandths(&self) -> u64 {
        u64::try_from(self.charge / PER_THOUSANDTH).unwrap_or(u64::MAX)
    }
}

/// One tenant's.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    held: Held,
    used: Used,
    /// The instant up to which `used` counts.
    at: Timestamp,
}

/// Every tenant's.
#[derive(Debug)]
pub(crate) struct Accounts {
    list: Vec<Account>,
    /// The instant at which what happens now happens.
    now: Timestamp,
    rates: Charge,
    step_ms: u64,
}

impl Default for Accounts {
    fn default() -> Self {
        let mut accounts =
            Self { list: Vec::new(), now: Timestamp(0), rates: Charge::default(), step_ms: 1 };
        accounts.charge_by(&Policy::default());
        accounts
    }
}

impl Accounts {
    /// Time goes on.
    pub(crate) fn set_now(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// The tenant holds more from now.
    pub(crate) fn hold(&mut self, tenant: TenantIx, more: &Held) {
        self.change(tenant, |held| held.add(more));
    }

    /// The tenant holds less from now.
    pub(crate) fn release(&mut self, tenant: TenantIx, less: &Held) {
        self.change(tenant, |held| held.take(less));
    }

    fn change(&mut self, tenant: TenantIx, with: impl FnOnce(&mut Held)) {
        let slot = tenant as usize;
        if self.list.len() <= slot {
            self.list.resize(slot + 1, Account::default());
        }
        let (now, rates, step_ms) = (self.now, self.rates, self.step_ms);
        if let Some(account) = self.list.get_mut(slot) {
            if account.at < now {
                account.count_until(now, &rates, step_ms);
            }
            with(&mut account.held);
        }
    }

    /// From now on usage is charged and forgotten as that policy says.
    pub(crate) fn charge_by(&mut self, policy: &Policy) {
        let (now, rates, step_ms) = (self.now, self.rates, self.step_ms);
        self.list.iter_mut().for_each(|account| account.count_until(now, &rates, step_ms));
        self.rates = policy.charge;
        self.step_ms = (policy.half_life_ms / STEPS).max(1);
    }

    /// What the tenant has used until `at`, if that is not past.
    pub(crate) fn used(&self, tenant: TenantIx, at: Timestamp) -> Used {
        let mut account = self.list.get(tenant as usize).copied().unwrap_or_default();
        account.count_until(at, &self.rates, self.step_ms);
        account.used
    }

    /// What each tenant had used at `at`, to be recorded.
    pub(crate) fn records(&self, at: Timestamp) -> Vec<Used> {
        (0..self.list.len() as TenantIx).map(|tenant| self.used(tenant, at)).collect()
    }

    /// Goes on from what [`Self::records`] gave. What is held now is counted already.
    pub(crate) fn restore(&mut self, records: Vec<Used>, at: Timestamp) {
        self.list.resize(self.list.len().max(records.len()), Account::default());
        for account in &mut self.list {
            account.at = at;
        }
        for (account, used) in self.list.iter_mut().zip(records) {
            account.used = used;
        }
        self.now = at;
    }
}

impl Account {
    fn count_until(&mut self, now: Timestamp, rates: &Charge, step_ms: u64) {
        let ms = now.0.saturating_sub(self.at.0);
        if ms == 0 {
            return;
        }
        let (held, span) = (&self.held, u128::from(ms));
        self.used.cpu_milli_ms += u128::from(held.cpu_milli) * span;
        self.used.memory_byte_ms += u128::from(held.memory) * span;
        self.used.gpu_milli_ms += u128::from(held.gpu_milli) * span;
        let rate = held.rate(rates);
        if rate > 0 || self.used.charge > 0 {
            self.charge_until(now, rate, step_ms);
        }
        self.at = now;
    }

    fn charge_until(&mut self, now: Timestamp, rate: u128, step_ms: u64) {
        let (last, mut step, mut from) = (now.0 / step_ms, self.at.0 / step_ms, self.at.0);
        if last - step > FORGOTTEN {
            step = last - FORGOTTEN;
            from = step * step_ms;
            self.used.charge = 0;
        }
        while step < last {
            step += 1;
            let end = step * step_ms;
            self.used.charge += rate * u128::from(end - from);
            self.used.charge = (self.used.charge * KEPT) >> 32;
            from = end;
        }
        self.used.charge += rate * u128::from(now.0 - from);
    }
}

impl Held {
    /// What a millisecond of it is charged.
    fn rate(&self, rates: &Charge) -> u128 {
        let memory = u128::from(self.memory) * u128::from(rates.memory_gib) * 1000;
        u128::from(self.cpu_milli) * u128::from(rates.cpu)
            + (memory >> 30)
            + u128::from(self.gpu_milli) * u128::from(rates.gpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: Held = Held { cpu_milli: 1000, memory: 0, gpu_milli: 0 };
    const HALF_LIFE: u64 = 256_000;

    fn accounts() -> Accounts {
        let mut accounts = Accounts::default();
        accounts.charge_by(&Policy { half_life_ms: HALF_LIFE, ..Policy::default() });
        accounts
    }

    #[test]
    fn what_is_held_counts_from_the_instant_it_is_held_to_that_it_is_released() {
        let mut accounts = accounts();
        accounts.set_now(Timestamp(1_000_007));
        accounts.hold(3, &CORE);
        accounts.set_now(Timestamp(1_000_010));
        accounts.hold(3, &Held { cpu_milli: 500, memory: 7, gpu_milli: 250 });
        accounts.set_now(Timestamp(1_000_020));
        accounts.release(3, &CORE);
        let used = accounts.used(3, Timestamp(1_000_120));
        assert_eq!(used.cpu_milli_ms, 3 * 1000 + 10 * 1500 + 100 * 500);
        assert_eq!((used.memory_byte_ms, used.gpu_milli_ms), (110 * 7, 110 * 250));
        assert_eq!(accounts.used(0, Timestamp(1_000_120)), Used::default());
    }

    #[test]
    fn a_unit_is_a_cpu_second_and_memory_and_cards_are_charged_by_their_rates() {
        let charge = |held: Held| {
            let mut accounts = accounts();
            accounts.hold(0, &held);
            accounts.used(0, Timestamp(999)).charge() / PER_THOUSANDTH * 1000 / 999
        };
        assert_eq!(charge(CORE), 1000);
        assert_eq!(charge(Held { cpu_milli: 0, memory: 4 << 30, gpu_milli: 0 }), 1000);
        assert_eq!(charge(Held { cpu_milli: 0, memory: 0, gpu_milli: 500 }), 8000);
    }

    #[test]
    fn a_charge_halves_in_a_half_life_and_the_sum_stays() {
        let mut accounts = accounts();
        accounts.hold(0, &CORE);
        accounts.set_now(Timestamp(1000));
        accounts.release(0, &CORE);
        let before = accounts.used(0, Timestamp(1000)).charge();
        for half_lives in 1..=10 {
            let after = accounts.used(0, Timestamp(1000 + half_lives * HALF_LIFE));
            let wanted = before >> half_lives;
            // Each step rounds down: at most some hundred of what a second makes a thousand million.
            assert!(after.charge().abs_diff(wanted) < 400 + wanted / 1_000_000, "{half_lives}");
            assert_eq!(after.cpu_milli_ms, 1_000_000);
        }
        assert_eq!(accounts.used(0, Timestamp(1000 + 200 * HALF_LIFE)).charge(), 0);
    }

    #[test]
    fn it_does_not_matter_how_finely_a_history_is_cut() {
        let (mut coarse, mut fine) = (accounts(), accounts());
        coarse.hold(0, &CORE);
        fine.hold(0, &CORE);
        for ms in (1..500_000).step_by(37) {
            fine.set_now(Timestamp(ms));
            fine.hold(0, &CORE);
            fine.release(0, &CORE);
        }
        let end = Timestamp(700_001);
        assert_eq!(coarse.used(0, end), fine.used(0, end));
        let mut restored = accounts();
        restored.hold(0, &CORE);
        restored.restore(fine.records(Timestamp(600_123)), Timestamp(600_123));
        assert_eq!(restored.used(0, end), fine.used(0, end));
    }
}
