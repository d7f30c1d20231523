//! What a varying audience costs: the Gaussian regime.
//!
//! Source: Kumar, Liu and Ross (2007), the large-system limit of their stochastic fluid model: the
//! number present in each class is Poisson, so that the surplus of upload over demand is close to
//! normal. An approximation for a stationary audience of at least some tens, not a bound for one
//! run.

use std::f64::consts::{PI, SQRT_2};

/// A class of viewers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Its share of the audience; all shares add to 1.
    pub share: f64,
    /// Upload of one viewer of it, Mbit/s.
    pub upload_mbps: f64,
}

/// What the surplus of upload looks like over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surplus {
    /// Part of the time in which origin and peers together have enough.
    pub enough: f64,
    /// Mean origin egress beyond what it always gives, Mbit/s.
    pub extra_origin_mbps: f64,
}

/// The surplus for an audience of `viewers` on average, of a rendition at `rate_mbps`, where the
/// origin always gives `origin_mbps`.
#[must_use]
pub fn surplus(rate_mbps: f64, origin_mbps: f64, viewers: f64, shares: &[Share]) -> Surplus {
    let each = |power: i32| -> f64 {
        shares.iter().map(|of| of.share * (of.upload_mbps - rate_mbps).powi(power)).sum()
    };
    let mean = origin_mbps + viewers * each(1);
    let deviation = (viewers * each(2)).sqrt();
    if deviation == 0.0 {
        let enough = if mean >= 0.0 { 1.0 } else { 0.0 };
        return Surplus { enough, extra_origin_mbps: (-mean).max(0.0) };
    }
    let z = mean / deviation;
    let extra_origin_mbps = deviation * density(z) - mean * normal_above(z);
    Surplus { enough: normal_above(-z), extra_origin_mbps }
}

/// Density of the standard normal distribution.
fn density(z: f64) -> f64 {
    (-z * z / 2.0).exp() / (2.0 * PI).sqrt()
}

/// Probability that a standard normal variable is above z; to 1e-14 of it. By its series near the
/// middle and its continued fraction in the tail (Abramowitz and Stegun 26.2.11 and 26.2.14).
fn normal_above(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_above(-z);
    }
    if z > 2.0 * SQRT_2 {
        let fraction = (1..=120).rev().fold(z, |below, k| z + f64::from(k) / below);
        return density(z) / fraction;
    }
    let (mut term, mut sum) = (z, z);
    for k in 1..60 {
        term *= z * z / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 - density(z) * sum
}
