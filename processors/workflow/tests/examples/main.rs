//! The examples of `examples/`, run: each compiles without a warning, and gives what its page says.
//!
//! The processor is the real one, under the runtime's machine; models are the scripted ones of the example, asked
//! as any caller asks them. Functions, signals and the passing of time are the tests'.

mod approval;
mod children;
mod documents;
mod every;
mod example;
mod map_reduce;
mod nightly;
mod saga;
mod self_correcting;
mod summarise_and_classify;
mod vote;
mod world;
