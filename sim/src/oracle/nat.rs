//! Address translation classes, and which pairs of them can open a link.
//!
//! Rule: a pair that may connect counts as connected, so that bounds stay generous; the share of
//! such pairs that fails by chance is no part of a bound.

use serde::{Deserialize, Serialize};

/// How a viewer's network treats packets from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nat {
    /// Anyone can send to it.
    Open,
    /// One mapping for all; lets in whatever address it has sent to.
    AddressRestricted,
    /// One mapping for all; lets in whatever address and port it has sent to.
    PortRestricted,
    /// A mapping per destination.
    Symmetric,
    /// UDP is blocked: it reaches nobody.
    Blocked,
}

impl Nat {
    /// How many classes there are.
    pub const COUNT: usize = 5;

    /// All classes, in the order of [`Self::index`].
    pub const ALL: [Self; Self::COUNT] =
        [Self::Open, Self::AddressRestricted, Self::PortRestricted, Self::Symmetric, Self::Blocked];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Open => 0,
            Self::AddressRestricted => 1,
            Self::PortRestricted => 2,
            Self::Symmetric => 3,
            Self::Blocked => 4,
        }
    }

    /// Whether a link between two such viewers can open: all pairs except port-restricted with
    /// symmetric, symmetric with symmetric, and any with blocked.
    #[must_use]
    pub fn reaches(self, other: Self) -> bool {
        match (self, other) {
            (Self::Blocked, _)
            | (_, Self::Blocked)
            | (Self::Symmetric, Self::Symmetric | Self::PortRestricted)
            | (Self::PortRestricted, Self::Symmetric) => false,
            (
                Self::Open | Self::AddressRestricted | Self::PortRestricted | Self::Symmetric,
                Self::Open | Self::AddressRestricted | Self::PortRestricted | Self::Symmetric,
            ) => true,
        }
    }

    /// [`Self::reaches`] as a matrix over [`Self::ALL`].
    #[must_use]
    pub fn matrix() -> Vec<Vec<bool>> {
        Self::ALL.iter().map(|a| Self::ALL.iter().map(|b| a.reaches(*b)).collect()).collect()
    }
}
