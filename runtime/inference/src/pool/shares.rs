//! Whose work is next on threads that many models share: that of the tenant who has had least of
//! their time, by its weight. Within one model its queue says who is next; here a tenant cannot
//! gain by having many models. Pure: it has no clock and no threads.
//!
//! It is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), charged when a run is over,
//! since nobody knows before how long it takes.

use std::collections::BTreeMap;

use wrun_protocol::TenantName;

/// The weight of which a nanosecond is a unit of virtual time.
const UNIT: u64 = 1000;

/// How far each tenant is, in virtual time.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Where whoever comes anew begins: nothing is saved up by asking for nothing.
    now: u64,
    /// Those who are ahead of that.
    tenants: BTreeMap<TenantName, u64>,
}

impl Shares {
    /// Where the tenant is: who is least far is next.
    pub(super) fn of(&self, tenant: Option<&TenantName>) -> u64 {
        let ahead = tenant.and_then(|tenant| self.tenants.get(tenant));
        ahead.copied().unwrap_or_default().max(self.now)
    }

    /// Work of a tenant who is so far begins.
    pub(super) fn begin(&mut self, at: u64) {
        if at > self.now {
            self.now = at;
            self.tenants.retain(|_, ahead| *ahead > at);
        }
    }

    /// A tenant of that weight has had so many nanoseconds.
    pub(super) fn charge(&mut self, tenant: &TenantName, weight: u32, nanoseconds: u64) {
        let cost = nanoseconds.saturating_mul(UNIT) / u64::from(weight.max(1));
        let at = self.of(Some(tenant)).saturating_add(cost);
        self.tenants.insert(tenant.clone(), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is served how often in so many turns, of tenants who always want more: each with its
    /// weight and with how long its work takes.
    fn served(tenants: &[(&str, u32, u64)], turns: usize) -> Vec<u64> {
        let mut shares = Shares::default();
        let mut time = vec![0; tenants.len()];
        let names: Vec<TenantName> = tenants.iter().map(|it| it.0.parse().unwrap()).collect();
        for _ in 0..turns {
            let next = (0..names.len()).min_by_key(|at| (shares.of(Some(&names[*at])), time[*at]));
            let next = next.unwrap();
            shares.begin(shares.of(Some(&names[next])));
            let (_, weight, takes) = tenants[next];
            shares.charge(&names[next], weight, takes);
            time[next] += takes;
        }
        time
    }

    #[test]
    fn time_is_shared_by_weight_whatever_a_run_takes() {
        assert_eq!(served(&[("a", 1000, 10), ("b", 1000, 10)], 100), [500, 500]);
        let [long, short] = served(&[("a", 1000, 1000), ("b", 1000, 10)], 10_000)[..] else {
            panic!()
        };
        assert!(long.abs_diff(short) <= 1000, "{long} {short}");
        let [heavy, light] = served(&[("a", 750, 9000), ("b", 250, 9000)], 10_000)[..] else {
            panic!()
        };
        assert!(heavy.abs_diff(light * 3) <= 36_000, "{heavy} {light}");
    }

    #[test]
    fn who_asked_for_nothing_has_saved_nothing_up() {
        let (a, b): (TenantName, TenantName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut shares = Shares::default();
        for _ in 0..100 {
            shares.begin(shares.of(Some(&a)));
            shares.charge(&a, 1000, 10);
        }
        assert!(shares.of(Some(&a)) - shares.of(Some(&b)) <= 10);
        shares.charge(&b, 1000, 10);
        shares.begin(shares.of(Some(&a)));
        assert!(shares.tenants.len() <= 1, "only those who are ahead are remembered");
        shares.charge(&a, 0, u64::MAX);
        assert_eq!(shares.of(Some(&a)), u64::MAX);
    }
}
