//! The bound of a finished title: viewers are scattered over it, seek, and fetch ahead.
//!
//! Nothing has to be fetched at a certain time, so only sums count: every segment that somebody got
//! came from the origin once, whoever reaches nobody got all of it there, and peers cannot have sent
//! more than their uplinks carry while they are there. What a viewer had already, and plays again,
//! has to be sent by nobody. It is generous: when what was uploaded, and
//! whether its sender had it by then, does not enter.

use super::offload;

/// A title as it was watched, Mbit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Title {
    /// What was played, or was to be.
    pub delivered_mbit: f64,
    /// What was sent to viewers that reach others.
    pub shared_mbit: f64,
    /// What was sent to viewers that reach nobody.
    pub alone_mbit: f64,
    /// Different segments of which somebody that reaches others got the whole.
    pub distinct_mbit: f64,
    /// What the uplinks of those who reach others carry while they are there.
    pub upload_mbit: f64,
}

impl Title {
    /// Largest offload ratio; zero where nothing was delivered.
    #[must_use]
    pub fn offload_max(&self) -> f64 {
        let shared = self.distinct_mbit.max(self.shared_mbit - self.upload_mbit);
        offload(self.alone_mbit + shared, self.delivered_mbit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_uploads_and_loners_limit_it() {
        let title = |alone_mbit, distinct_mbit, upload_mbit| Title {
            delivered_mbit: 100.0 + alone_mbit,
            shared_mbit: 100.0,
            alone_mbit,
            distinct_mbit,
            upload_mbit,
        };
        for (title, most) in [
            (title(0.0, 10.0, 1000.0), 0.9),
            (title(0.0, 10.0, 60.0), 0.6),
            (title(0.0, 10.0, 0.0), 0.0),
            (title(100.0, 20.0, 1000.0), 0.4),
            (Title { delivered_mbit: 200.0, ..title(0.0, 10.0, 60.0) }, 0.8),
            (Title::default(), 0.0),
        ] {
            assert!((title.offload_max() - most).abs() < 1e-12, "{title:?}");
        }
    }
}
