//! English expressions of dates: "7 May 2023", "May 7th", "in May", "2023-05-07", "yesterday", "last week", "next
//! Friday", "three days ago". What is not surely a date is passed over: a wrong date costs more than a missed one.

use std::ops::Range;

use super::civil::{Civil, DayRange, YEARS, exact_day, from_day, month_range, weekday, year_range};
use super::words::{Joint, Token, tokens};

/// A stretch of time a text speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// These days.
    Days(DayRange),
    /// A month, or a day of it, of no particular year.
    EveryYear {
        /// 1..=12.
        month: i32,
        /// None: the whole month.
        day: Option<i32>,
    },
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const NUMBERS: [&str; 13] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
/// Words after which "may" and "march" are months.
const BEFORE_A_MONTH: [&str; 16] = [
    "in", "of", "since", "until", "during", "before", "after", "by", "last", "this", "next", "late", "early", "mid",
    "from", "through",
];

/// The dates a text speaks of, relative ones counted from the day `today`; without it they are passed over.
pub fn spoken_dates(text: &str, today: Option<i32>) -> Vec<Spoken> {
    places_of_dates(text, today).into_iter().map(|(spoken, _)| spoken).collect()
}

/// The same, each with where it stands in the text, in bytes.
pub fn places_of_dates(text: &str, today: Option<i32>) -> Vec<(Spoken, Range<usize>)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = if at > 0 { tokens[at - 1].text.as_str() } else { "" };
        let here = absolute(&tokens[at..], before).or_else(|| relative(&tokens[at..], today?));
        let Some((spoken, length)) = here else {
            at += 1;
            continue;
        };
        let last = tokens.len().min(at + length) - 1;
        found.push((spoken, tokens[at].place.start..tokens[last].place.end));
        at += length;
    }
    found
}

type Match = Option<(Spoken, usize)>;

fn absolute(tokens: &[Token], before: &str) -> Match {
    iso(tokens).or_else(|| day_and_month(tokens)).or_else(|| month_first(tokens, before)).or_else(|| {
        let year = year(tokens.first())?;
        (tokens[0].joint != Joint::Dash).then_some((Spoken::Days(year_range(year)), 1))
    })
}

fn year(token: Option<&Token>) -> Option<i32> {
    token.filter(|t| t.text.len() == 4)?.number.filter(|year| YEARS.contains(year))
}

/// `2023-05-07`, `2023/05/07`.
fn iso(tokens: &[Token]) -> Match {
    let [y, m, d, ..] = tokens else { return None };
    if y.joint != Joint::Dash || m.joint != Joint::Dash {
        return None;
    }
    let month = m.number.filter(|m| (1..=12).contains(m))?;
    Some((Spoken::Days(DayRange::day(exact_day(year(Some(y))?, month, d.number?)?)), 3))
}

/// `7 May`, `7th of May, 2023`.
fn day_and_month(tokens: &[Token]) -> Match {
    let day = tokens.first()?.number?;
    let of = usize::from(tokens.get(1)?.text == "of");
    let month = month(&tokens.get(1 + of)?.text, true)?;
    date(month, Some(day), year(tokens.get(2 + of)), 2 + of)
}

/// `May 7th`, `May 7, 2023`, `May 2023`, `in May`.
fn month_first(tokens: &[Token], before: &str) -> Match {
    let sure = BEFORE_A_MONTH.contains(&before);
    let number = tokens.get(1).and_then(|t| t.number);
    let of = usize::from(tokens.get(1).is_some_and(|t| t.text == "of"));
    let month = month(&tokens[0].text, sure || number.is_some())?;
    match (number.filter(|d| (1..=31).contains(d)), year(tokens.get(1 + of))) {
        (Some(day), _) => date(month, Some(day), year(tokens.get(2)), 2),
        (None, Some(year)) => date(month, None, Some(year), 2 + of),
        (None, None) => date(month, None, None, 1),
    }
}

/// `sure`: the words around say that it is a month; "may", "march" and abbreviations need that.
fn month(word: &str, sure: bool) -> Option<i32> {
    let at = MONTHS.iter().position(|name| *name == word || sure && abbreviates(word, name))?;
    (sure || !matches!(word, "may" | "march")).then_some(at as i32 + 1)
}

fn abbreviates(word: &str, name: &str) -> bool {
    name.starts_with(word) && (word.len() == 3 || word == "sept")
}

fn date(month: i32, day: Option<i32>, year: Option<i32>, length: usize) -> Match {
    let spoken = match (day, year) {
        (Some(day), Some(year)) => Spoken::Days(DayRange::day(exact_day(year, month, day)?)),
        (None, Some(year)) => Spoken::Days(month_range(year, month)),
        // A leap year has every day a month can have.
        (day, None) => {
            day.map_or(Some(0), |day| exact_day(2000, month, day))?;
            Spoken::EveryYear { month, day }
        }
    };
    Some((spoken, length + usize::from(year.is_some() && day.is_some())))
}

fn relative(tokens: &[Token], today: i32) -> Match {
    let days = |first: i32, last: i32, length: usize| Some((Spoken::Days(DayRange { first, last }), length));
    let next = tokens.get(1).map_or("", |t| t.text.as_str());
    match (tokens[0].text.as_str(), next) {
        ("yesterday", _) => days(today - 1, today - 1, 1),
        ("tomorrow", _) => days(today + 1, today + 1, 1),
        ("today" | "tonight", _) => days(today, today, 1),
        ("this", "morning" | "afternoon" | "evening") => days(today, today, 2),
        ("last", "night") => days(today - 1, today - 1, 2),
        ("last" | "past" | "previous", unit) => period(unit, -1, today),
        ("this", unit) => period(unit, 0, today),
        ("next" | "coming" | "following", unit) => period(unit, 1, today),
        _ => ago(tokens, today),
    }
}

/// A calendar week (from Monday), weekend, month or year, `step` of them from today's; or a weekday.
fn period(unit: &str, step: i32, today: i32) -> Match {
    let Civil { year, month, .. } = from_day(today);
    let monday = today - weekday(today) + 7 * step;
    let range = match unit {
        "week" => DayRange { first: monday, last: monday + 6 },
        "weekend" => DayRange { first: monday + 5, last: monday + 6 },
        "month" => month_range(year, month + step),
        "year" => year_range(year + step),
        _ => DayRange::day(named_weekday(unit, step, today)?),
    };
    Some((Spoken::Days(range), 2))
}

/// "last Friday" is the latest before today, "next Friday" the first after it.
fn named_weekday(word: &str, step: i32, today: i32) -> Option<i32> {
    let wanted = WEEKDAYS.iter().position(|name| *name == word || word.len() == 3 && name.starts_with(word))? as i32;
    let ahead = (wanted - weekday(today)).rem_euclid(7);
    Some(match step {
        -1 if ahead == 0 => today - 7,
        -1 => today + ahead - 7,
        1 if ahead == 0 => today + 7,
        _ => today + ahead,
    })
}

/// "three days ago", "a couple of weeks ago". The coarser the unit, the wider the range.
fn ago(tokens: &[Token], today: i32) -> Match {
    let first = tokens.first()?;
    let (mut count, mut at) = match first.text.as_str() {
        "a" | "an" => (1, 1),
        "couple" => (2, 1),
        word => (first.number.or_else(|| NUMBERS.iter().position(|n| *n == word).map(|n| n as i32))?, 1),
    };
    if tokens.get(at)?.text == "few" || tokens.get(at)?.text == "couple" {
        (count, at) = (if tokens[at].text == "few" { 3 } else { 2 }, at + 1);
    }
    at += usize::from(tokens.get(at)?.text == "of");
    let unit = tokens.get(at)?.text.trim_end_matches('s');
    let (length, slack) = match unit {
        "day" => (1, 0),
        "week" => (7, 3),
        "month" => (30, 15),
        "year" => (365, 183),
        _ => return None,
    };
    if tokens.get(at + 1)?.text != "ago" || !(0..=1_000).contains(&count) {
        return None;
    }
    let day = today - count * length;
    Some((Spoken::Days(DayRange { first: day - slack, last: day + slack }), at + 2))
}
