//! Rollouts of a small model of replicas.

mod every_way;
mod model;
mod random;
mod strategies;
