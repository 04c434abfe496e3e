//! Medians and percentiles.

/// The value below which `part` (0 to 1) of `values` lie; sorts them.
pub(crate) fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = (last as f64 * part).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// The middle value; sorts them.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    percentile(values, 0.5)
}
