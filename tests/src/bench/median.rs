//! The median, which shrugs off the outliers of a shared machine.

/// Median of some figures; 0 for none.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}
