//! Many measured values, and what is said of them.

/// Values in no order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// In rising order.
    pub(crate) fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The sample that this share of all does not exceed; not a number without any.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let sorted = self.sorted();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

/// The slope of the straight line through these points that errs least (squares); not a number if
/// all have the same x.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (product, square) = points.iter().fold((0.0, 0.0), |(product, square), point| {
        (product + (point.0 - x) * (point.1 - y), square + (point.0 - x).powi(2))
    });
    if square > 0.0 { product / square } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Samples = (1..=100).rev().map(f64::from).collect();
        assert_eq!((samples.quantile(0.5), samples.quantile(0.99)), (50.0, 99.0));
        assert_eq!((samples.quantile(0.0), samples.quantile(1.0)), (1.0, 100.0));
        assert!(Samples::default().quantile(0.5).is_nan());
    }

    #[test]
    fn a_slope_is_that_of_the_line() {
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]), 2.0);
        assert_eq!(slope(&[(0.0, 0.0), (1.0, 3.0), (2.0, 3.0)]), 1.5);
        assert!(slope(&[(1.0, 5.0)]).is_nan());
    }
}
