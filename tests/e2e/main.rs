//! The whole suite from outside, in one process and in five.

mod journeys;
mod matrix;
mod tour;
