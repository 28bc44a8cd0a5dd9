//! An item of which only the newest sentences are shown. It reads `- label: sentences`, the newest at its end.

use std::borrow::Cow;

use crate::tokens::TokenCounter;

/// Stands for what came before.
pub const LEFT_OUT: &str = "[...] ";

/// As much of the end of `item` as `room` tokens hold, its label before it; None where no sentence fits.
pub fn newest<'a>(counter: &TokenCounter, item: &'a str, room: usize) -> Option<Cow<'a, str>> {
    if cost(counter, item) <= room {
        return Some(item.into());
    }
    let label = item.find(": ").map_or(0, |at| at + 2);
    let starts = starts(item, label);
    let from = |start: usize| format!("{}{LEFT_OUT}{}", &item[..label], &item[start..]);
    // The later it starts the shorter it is, to a token or so: the search may miss one sentence, never the bound.
    let first = starts.partition_point(|&start| cost(counter, &from(start)) > room);
    starts[first..].iter().map(|&start| from(start)).find(|text| cost(counter, text) <= room).map(Cow::from)
}

/// Tokens with the line break behind it.
pub fn cost(counter: &TokenCounter, text: &str) -> usize {
    counter.count(&format!("{text}\n"))
}

/// Where sentences start after the first one: behind a line break, or behind a full stop and white space.
fn starts(item: &str, label: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut ended, mut before) = (false, ' ');
    for (at, c) in item.char_indices().filter(|&(at, _)| at >= label) {
        if !c.is_whitespace() {
            if ended {
                found.push(at);
            }
            ended = false;
        } else if c == '\n' || matches!(before, '.' | '!' | '?' | '。' | '！' | '？') {
            ended = true;
        }
        before = c;
    }
    found
}
