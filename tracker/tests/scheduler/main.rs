//! The tracker in a small world of peers: stories, convergence, random events.

mod convergence;
mod forest;
mod random;
mod sources;
mod traces;
mod world;
