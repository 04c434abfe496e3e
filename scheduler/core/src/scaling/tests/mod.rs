//! The autoscaler in virtual time.

mod curves;
mod load_curves;
mod properties;
mod rules;
mod run;
