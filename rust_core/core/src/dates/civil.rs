//! Days since 1970-01-01 and the proleptic Gregorian calendar, UTC.

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;
/// Years a date may have; what is said of others is not a date to search by.
pub const YEARS: std::ops::RangeInclusive<i32> = 1900..=2099;

/// Days from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayRange {
    /// Days since the epoch.
    pub first: i32,
    /// Not before the first.
    pub last: i32,
}

impl DayRange {
    /// One day.
    pub fn day(day: i32) -> Self {
        Self { first: day, last: day }
    }

    /// Whether a day is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A date of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i32,
    /// 1..=12.
    pub month: i32,
    /// 1..=31.
    pub day: i32,
}

/// The day of a time in microseconds since the epoch; None far outside any calendar.
pub fn day_of(time_us: i64) -> Option<i32> {
    let day = time_us.div_euclid(DAY_US);
    // Within 10,000 years of the epoch: arithmetic on days cannot overflow.
    (day.abs() < 3_652_500).then_some(day as i32)
}

/// Days from civil, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub fn to_day(date: Civil) -> i32 {
    let year = date.year - i32::from(date.month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = (date.month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + date.day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Civil from days, the inverse.
pub fn from_day(day: i32) -> Civil {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i32::from(month <= 2);
    Civil { year, month, day: of_year - (153 * shifted_month + 2) / 5 + 1 }
}

/// 0 is Monday.
pub fn weekday(day: i32) -> i32 {
    (day + 3).rem_euclid(7)
}

/// The days of a month; `month` may run over the ends of the year.
pub fn month_range(year: i32, month: i32) -> DayRange {
    let first_of = |year: i32, month: i32| {
        to_day(Civil { year: year + (month - 1).div_euclid(12), month: (month - 1).rem_euclid(12) + 1, day: 1 })
    };
    DayRange { first: first_of(year, month), last: first_of(year, month + 1) - 1 }
}

/// The days of a year.
pub fn year_range(year: i32) -> DayRange {
    DayRange { first: month_range(year, 1).first, last: month_range(year, 12).last }
}

/// The day of a date; None when the month has no such day.
pub fn exact_day(year: i32, month: i32, day: i32) -> Option<i32> {
    let month = month_range(year, month);
    (1..=month.last - month.first + 1).contains(&day).then_some(month.first + day - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days() {
        assert_eq!(to_day(Civil { year: 1970, month: 1, day: 1 }), 0);
        assert_eq!(to_day(Civil { year: 2000, month: 3, day: 1 }), 11_017);
        assert_eq!((weekday(0), weekday(-3), weekday(4)), (3, 0, 0));
        assert_eq!((exact_day(2024, 2, 29).is_some(), exact_day(2023, 2, 29)), (true, None));
        assert_eq!((day_of(-1), day_of(i64::MAX)), (Some(-1), None));
    }

    proptest! {
        #[test]
        fn days_and_dates_are_each_others_inverse(day in -3_652_500i32..3_652_500) {
            let date = from_day(day);
            prop_assert_eq!(to_day(date), day);
            let next = from_day(day + 1);
            let later = (next.year, next.month, next.day) > (date.year, date.month, date.day);
            prop_assert!(later && (1..=12).contains(&date.month) && (1..=31).contains(&date.day));
        }
    }
}
