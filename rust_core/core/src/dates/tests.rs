use proptest::prelude::*;

use super::*;

/// Wednesday, 2023-05-10.
const TODAY: i32 = 19_487;
const DAY_US: i64 = 86_400_000_000;

fn day(year: i32, month: i32, day: i32) -> i32 {
    exact_day(year, month, day).unwrap()
}

fn days(first: i32, last: i32) -> Spoken {
    Spoken::Days(DayRange { first, last })
}

fn one(text: &str) -> Spoken {
    let found = spoken_dates(text, Some(TODAY));
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    found[0]
}

#[test]
fn absolute_dates() {
    let seventh = Spoken::Days(DayRange::day(day(2023, 5, 7)));
    for text in
        ["on 7 May 2023", "May 7th, 2023!", "the 7th of May 2023", "2023-05-07", "at 2023/05/07 noon", "7 may, 2023"]
    {
        assert_eq!(one(text), seventh, "{text}");
    }
    assert_eq!(one("around August 2022"), days(day(2022, 8, 1), day(2022, 8, 31)));
    assert_eq!(one("back in 2021"), days(day(2021, 1, 1), day(2021, 12, 31)));
    assert_eq!(one("last seen in May"), Spoken::EveryYear { month: 5, day: None });
    assert_eq!(one("since Feb 29"), Spoken::EveryYear { month: 2, day: Some(29) });
    assert_eq!(one("on Sept 3rd"), Spoken::EveryYear { month: 9, day: Some(3) });
}

#[test]
fn what_is_not_a_date_is_passed_over() {
    for text in
        ["You may go", "they march on", "room 12", "1850", "31 of them", "30 Feb", "call 555-2023-11", "a few days"]
    {
        assert_eq!(spoken_dates(text, Some(TODAY)), [], "{text}");
    }
    for text in ["yesterday", "last week", "two days ago"] {
        assert_eq!(spoken_dates(text, None), [], "{text}");
    }
}

#[test]
fn relative_dates_are_counted_from_today() {
    let expected = [
        ("I went yesterday", day(2023, 5, 9), day(2023, 5, 9)),
        ("last night was fun", day(2023, 5, 9), day(2023, 5, 9)),
        ("tomorrow then", day(2023, 5, 11), day(2023, 5, 11)),
        ("last week", day(2023, 5, 1), day(2023, 5, 7)),
        ("next weekend", day(2023, 5, 20), day(2023, 5, 21)),
        ("this month", day(2023, 5, 1), day(2023, 5, 31)),
        ("last month", day(2023, 4, 1), day(2023, 4, 30)),
        ("next year", day(2024, 1, 1), day(2024, 12, 31)),
        ("last Friday", day(2023, 5, 5), day(2023, 5, 5)),
        ("last Wednesday", day(2023, 5, 3), day(2023, 5, 3)),
        ("next wed", day(2023, 5, 17), day(2023, 5, 17)),
        ("this Sunday", day(2023, 5, 14), day(2023, 5, 14)),
        ("three days ago", day(2023, 5, 7), day(2023, 5, 7)),
        ("a couple of days ago", day(2023, 5, 8), day(2023, 5, 8)),
        ("a week ago", day(2023, 4, 30), day(2023, 5, 6)),
        ("a few months ago", day(2023, 1, 25), day(2023, 2, 24)),
    ];
    for (text, first, last) in expected {
        assert_eq!(one(text), days(first, last), "{text}");
    }
}

#[test]
fn a_memory_answers_by_its_day_or_by_what_it_speaks_of() {
    let said = i64::from(TODAY) * DAY_US + 5;
    let mentioned = mentions("We went there yesterday and again in December", Some(said));
    assert_eq!(*mentioned, [DayRange::day(TODAY - 1), month_range(2022, 12)]);
    let asked = |text| answers(&spoken_dates(text, Some(TODAY + 30)), Some(TODAY), &mentioned);
    assert!(
        asked("what happened on 9 May 2023?") && asked("in May?") && asked("in December 2022") && asked("last month")
    );
    assert!(!asked("in June?") && !asked("what happened on 11 May") && !asked("where?"));
    assert!(!answers(&spoken_dates("in May", None), None, &[]));
    assert_eq!(*mentions("yesterday, in May, on 2023-05-07", None), [DayRange::day(day(2023, 5, 7))]);
}

proptest! {
    #[test]
    fn any_text_on_any_day_is_read_without_a_panic(
        text in "(\\PC{0,6}|(last|next|may|week|ago|a|few|of|12|2023|7th|-|/|monday| ){0,12}){0,4}", time in any::<i64>(),
    ) {
        let mentioned = mentions(&text, Some(time));
        prop_assert!(mentioned.len() <= MAX_MENTIONS && mentioned.iter().all(|range| range.first <= range.last));
        answers(&spoken_dates(&text, day_of(time)), day_of(time), &mentioned);
    }

    #[test]
    fn a_written_date_is_read_back(day in -25_000i32..47_000) {
        let Civil { year, month, day: of_month } = from_day(day);
        if civil::YEARS.contains(&year) {
            let written = format!("it was {year:04}-{month:02}-{of_month:02}, I think");
            prop_assert_eq!(spoken_dates(&written, None), [Spoken::Days(DayRange::day(day))]);
        }
    }
}
