//! The whole suite from outside, in one process and in five.

mod architecture;
mod bad_inputs;
mod isolation;
mod journeys;
mod matrix;
mod removal;
mod tokens;
mod tour;
