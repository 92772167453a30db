//! The whole suite from outside, in one process and in five.

mod agents;
mod architecture;
mod attacks;
mod audit;
mod bad_inputs;
mod between;
mod blocks;
mod canary;
mod identity;
mod isolation;
mod journeys;
mod matrix;
mod programs;
mod protocols;
mod removal;
mod rest;
mod revocation;
mod tokens;
mod tour;
mod traces;
