//! The binary's offline half: programs and simulated packets. No agent is asked.

mod functions;
mod prog;
mod ran;
mod sim;
