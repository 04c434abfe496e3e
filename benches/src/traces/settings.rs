//! The policies that are compared, as policy files.

/// A policy and what the page calls it.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) policy: String,
}

/// Deep enough that no job of the trace is left out of a pass.
const DEPTH: &str = "depth = 100000\n";

fn setting(name: &str, top: &str, backfill: &str) -> Setting {
    let policy = format!("{top}\n[backfill]\n{backfill}{DEPTH}");
    Setting { name: name.to_owned(), policy }
}

/// Policies of the literature, with the mean bounded slowdown that is known of each.
pub(super) fn known() -> Vec<(Setting, f64)> {
    let conservative = "mode = \"conservative\"\n";
    vec![
        (setting("EASY, first come first served", "order = \"fcfs\"", ""), 271.4),
        (
            setting(
                "EASY, first come first served, filled shortest first",
                "order = \"fcfs\"\nfill_order = \"shortest-first\"",
                "",
            ),
            140.8,
        ),
        (setting("EASY, shortest first", "order = \"shortest-first\"", ""), 42.1),
        (setting("EASY, smallest area first", "order = \"smallest-area-first\"", ""), 34.4),
        (setting("conservative, first come first served", "order = \"fcfs\"", conservative), 261.3),
        (setting("conservative, shortest first", "order = \"shortest-first\"", conservative), 44.3),
    ]
}

/// The plain way to bound waits. Age counts among the blocked, not in what fills behind them.
pub(super) fn bounded() -> Vec<Setting> {
    let with = |hours: u32| {
        let order = "order = \"smallest-area-first\"\nfill_order = \"smallest-area-first\"";
        let top = format!("{order}\nage_bound = \"{hours}h\"");
        setting(&format!("EASY, smallest area first, age bound {hours} h"), &top, "")
    };
    vec![with(24), with(96)]
}

/// Settings of the order `balanced` and what goes with it.
#[derive(Clone, Copy)]
pub(super) struct Balanced {
    patience_h: u32,
    full_area_s: u32,
    promises: u32,
    /// In 256ths of the cluster: processors of the trace's.
    headroom: u32,
    short_s: u32,
}

impl Balanced {
    pub(super) const FROZEN: Self =
        Self { patience_h: 180, full_area_s: 225, promises: 4, headroom: 16, short_s: 1800 };

    pub(super) fn setting(self, name: &str) -> Setting {
        let Self { patience_h, full_area_s, promises, headroom, short_s } = self;
        let top = format!(
            "order = \"balanced\"\n\n[balance]\npatience = \"{patience_h}h\"\nfull_area = \"{full_area_s}s\"\n"
        );
        let backfill = format!(
            "promises = {promises}\nheadroom = {}\nshort = \"{short_s}s\"\n",
            f64::from(headroom) / 256.0
        );
        setting(name, &top, &backfill)
    }
}

/// One setting changed at a time.
pub(super) fn frontier() -> Vec<Setting> {
    let frozen = Balanced::FROZEN;
    let mut settings = vec![frozen.setting("as frozen")];
    let mut add = |name: String, changed: Balanced| settings.push(changed.setting(&name));
    for patience_h in [24, 48, 72, 96, 120, 150, 240, 400] {
        add(format!("`patience` {patience_h} h"), Balanced { patience_h, ..frozen });
    }
    for full_area_s in [28, 56, 112, 169, 281, 337, 450, 900, 1800, 3600] {
        add(format!("`full_area` {full_area_s} s"), Balanced { full_area_s, ..frozen });
    }
    for promises in [1, 2, 3, 6, 8, 16] {
        add(format!("`promises` {promises}"), Balanced { promises, ..frozen });
    }
    for headroom in [0, 4, 8, 12, 24, 32, 48] {
        add(format!("`headroom` {headroom}/256"), Balanced { headroom, ..frozen });
    }
    for short_s in [60, 300, 600, 1200, 3600, 7200] {
        add(format!("`short` {short_s} s"), Balanced { short_s, ..frozen });
    }
    settings
}
