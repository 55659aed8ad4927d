//! What users rely on, seen from outside: each claim on the embedded and on the real stack, and on the real
//! one what a crash must not break.
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests, most of it outside functions marked so"
)]

mod cluster;
mod connections;
mod crashes;
mod data_team;
mod deploying;
mod emptied;
mod executions;
mod hanging;
mod large;
mod openai;
mod operating;
mod outages;
mod outside;
mod publish;
mod push;
mod retention;
mod schedules;
mod stopping;
mod store;
mod tenants;
mod topics;
mod traces;
mod transactions;
mod upgrades;
mod upstream;
mod workflows;

/// Makes each claim (an async function of a platform) a test on either stack. A macro, since the test
/// harness finds tests by the names of functions.
macro_rules! on_both_stacks {
    ($($claim:ident),* $(,)?) => {
        mod embedded {
            use stepstream_tests::platform::Platform;
            use stepstream_tests::stack::Stack;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    super::$claim(&*Platform::shared(Stack::Embedded).await).await;
                }
            )*
        }

        mod real {
            use stepstream_tests::platform::Platform;
            use stepstream_tests::stack::Stack;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    super::$claim(&*Platform::shared(Stack::Real).await).await;
                }
            )*
        }
    };
}

use on_both_stacks;
