//! The binary's offline half: programs and simulated packets. No agent is asked.

mod prog;
mod ran;
mod sim;
