//! Dates in texts: what a question asks for, and what a memory speaks of, as days.

mod civil;
mod english;
mod words;

use civil::{Civil, exact_day, from_day, month_range};
pub use civil::{DayRange, day_of};
pub use english::{Spoken, places_of_dates, spoken_dates};

/// Dates kept of one text: more are a calendar, not a memory.
const MAX_MENTIONS: usize = 8;

/// The days a stored text speaks of, counted from the day it was said (`said`, microseconds since the epoch). A date
/// without a year is taken nearest to that day; without `said` only full dates count.
pub fn mentions(text: &str, said: Option<i64>) -> Box<[DayRange]> {
    let today = said.and_then(day_of);
    let resolve = |spoken| match spoken {
        Spoken::Days(range) => Some(range),
        Spoken::EveryYear { month, day } => nearest(month, day, today?),
    };
    spoken_dates(text, today).into_iter().filter_map(resolve).take(MAX_MENTIONS).collect()
}

fn nearest(month: i32, day: Option<i32>, today: i32) -> Option<DayRange> {
    let this_year = from_day(today).year;
    let in_year = |year| match day {
        Some(day) => exact_day(year, month, day).map(DayRange::day),
        None => Some(month_range(year, month)),
    };
    let distance = |range: &DayRange| (range.first - today).max(today - range.last).max(0);
    (this_year - 1..=this_year + 1).filter_map(in_year).min_by_key(distance)
}

/// Whether a day or one of the mentioned stretches is in what was asked for.
pub fn answers(asked: &[Spoken], day: Option<i32>, mentioned: &[DayRange]) -> bool {
    let today = day.map(DayRange::day);
    asked.iter().any(|spoken| today.iter().chain(mentioned).any(|range| within(*spoken, *range)))
}

fn within(spoken: Spoken, range: DayRange) -> bool {
    match spoken {
        Spoken::Days(asked) => asked.overlaps(range),
        Spoken::EveryYear { month, day } => {
            let Civil { year, .. } = from_day(range.first);
            let days = |year| match day {
                Some(day) => exact_day(year, month, day).map(DayRange::day),
                None => Some(month_range(year, month)),
            };
            // A stretch may run into the next year; one longer than a year says nothing about a month.
            range.last - range.first < 365
                && [year, year + 1].into_iter().filter_map(days).any(|asked| asked.overlaps(range))
        }
    }
}

#[cfg(test)]
mod tests;
