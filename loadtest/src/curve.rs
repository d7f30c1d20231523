//! Curves of the pages.

use shoal_sim::report::plot::{Ink, Mark, Series};

/// Points, by rising x.
pub(crate) type Curve = Vec<(f64, f64)>;

/// A line.
pub(crate) fn line(name: &str, ink: Ink, points: Curve) -> Series {
    Series { name: name.into(), ink, mark: Mark::Line, points }
}

/// The share of sorted samples that are no more than x.
pub(crate) fn distribution(sorted: &[f64]) -> Curve {
    let count = sorted.len() as f64;
    (0..sorted.len()).map(|i| (sorted[i], (i + 1) as f64 / count)).collect()
}
