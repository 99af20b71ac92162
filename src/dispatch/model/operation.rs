//! What may happen, and how often.

use proptest::prelude::*;

use super::{KEYS, PLUGINS};

/// What a producer asks for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) plugin: usize,
    pub(super) key: Option<usize>,
    pub(super) max_attempts: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Success(Vec<Wanted>),
    Failure { retryable: bool },
    Timeout,
    Interruption,
}

#[derive(Debug, Clone)]
pub(super) enum Operation {
    Enqueue(Wanted),
    /// With these plugins held, a bit for each.
    Claim {
        held: u8,
    },
    /// Of the job that runs; `draw` in thousandths.
    End {
        outcome: Outcome,
        draw: u16,
    },
    /// kill -9, and the next start.
    Restart,
    Bury(usize),
    Retention,
    /// Seconds, and then a tick.
    Clock(i64),
}

fn wanted() -> impl Strategy<Value = Wanted> {
    (0..PLUGINS.len(), prop::option::of(0..KEYS.len()), 1..4_u32).prop_map(|(plugin, key, max_attempts)| Wanted {
        plugin,
        key,
        max_attempts,
    })
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let outcome = prop_oneof![
        4 => prop::collection::vec(wanted(), 0..4).prop_map(Outcome::Success),
        4 => any::<bool>().prop_map(|retryable| Outcome::Failure { retryable }),
        2 => Just(Outcome::Timeout),
        2 => Just(Outcome::Interruption),
    ];
    prop_oneof![
        8 => wanted().prop_map(Operation::Enqueue),
        9 => prop_oneof![3 => Just(0), 1 => 0..8_u8].prop_map(|held| Operation::Claim { held }),
        8 => (outcome, 0..1_000_u16).prop_map(|(outcome, draw)| Operation::End { outcome, draw }),
        2 => Just(Operation::Restart),
        1 => (0..PLUGINS.len()).prop_map(Operation::Bury),
        1 => Just(Operation::Retention),
        2 => (-200..200_i64).prop_map(Operation::Clock),
        1 => (-200_000..300_000_i64).prop_map(Operation::Clock),
    ]
}
