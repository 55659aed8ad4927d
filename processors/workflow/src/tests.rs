//! The processor under the runtime's own machine: from a published start to requests, events, answers and rows.
