//! Cues from a memory itself: who said it, when, how, and what it is worth.

use super::candidate::{Ranked, Traits};
use super::cues::{CueParts, Cues};

/// A turn of that many words or more is not short.
const FULL_TURN_WORDS: f32 = 12.0;

/// Set the parts that do not depend on other candidates but for the newest and oldest time.
pub fn judge(ranked: &mut [Ranked], cues: &Cues) {
    let times = || ranked.iter().filter_map(|r| r.candidate.traits.time_us);
    let (oldest, newest) = (times().min(), times().max());
    for hit in ranked {
        let traits = hit.candidate.traits;
        hit.cues = CueParts {
            speaker: if traits.named { cues.speaker } else { 0.0 },
            date: if traits.dated { cues.date } else { 0.0 },
            turn: turn(&traits, cues),
            recency: cues.recency * place(traits.time_us, oldest, newest),
            importance: cues.importance * traits.importance.clamp(0.0, 1.0),
            ..hit.cues
        };
    }
}

/// "Wow, really?" is no evidence of anything.
fn turn(traits: &Traits, cues: &Cues) -> f32 {
    if !traits.turn {
        return 0.0;
    }
    let missing = 1.0 - (traits.length as f32 / FULL_TURN_WORDS).min(1.0);
    cues.short_turn * missing + if traits.asks { cues.question_turn } else { 0.0 }
}

fn place(time: Option<i64>, oldest: Option<i64>, newest: Option<i64>) -> f32 {
    match (time, oldest, newest) {
        // In floats: the span of two 64-bit times may not fit 64 bits.
        (Some(time), Some(oldest), Some(newest)) if newest > oldest => {
            ((time as f64 - oldest as f64) / (newest as f64 - oldest as f64)) as f32
        }
        _ => 0.0,
    }
}
