//! The text of the `Date` field, from a count of seconds: no clock, no locale, no library.

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// 9999-12-31 23:59:59, the last moment that four digits of year can name.
const SECONDS_MAX: u64 = 253_402_300_799;

/// The moment `seconds` after 1970-01-01 00:00:00 UTC as an IMF-fixdate (RFC 9110, 5.6.7), leap seconds not counted.
/// A moment behind the year 9999 is given as the last second of that year.
///
/// ```
/// assert_eq!(&tourbillon::proto::http1::date::format(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
pub fn format(seconds: u64) -> [u8; 29] {
    let seconds = seconds.min(SECONDS_MAX);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[0..3].copy_from_slice(DAYS[(days % 7) as usize]);
    text[5..7].copy_from_slice(&two_digits(day));
    text[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    text[12..14].copy_from_slice(&two_digits(year / 100));
    text[14..16].copy_from_slice(&two_digits(year % 100));
    text[17..19].copy_from_slice(&two_digits(second / 3_600));
    text[20..22].copy_from_slice(&two_digits(second / 60 % 60));
    text[23..25].copy_from_slice(&two_digits(second % 60));
    text
}

/// The seconds after 1970-01-01 00:00:00 UTC that an IMF-fixdate names; `None` for any other text, the two obsolete
/// forms of RFC 9110, 5.6.7 included.
///
/// ```
/// use tourbillon::proto::http1::date;
/// assert_eq!(date::read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
/// assert_eq!(date::read("Mon, 06 Nov 1994 08:49:37 GMT"), None);
/// ```
pub fn read(text: &str) -> Option<u64> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<u64>().ok();
    let (day, year) = (number(5..7)?, number(12..16)?);
    let name = text.get(8..11)?.as_bytes();
    let month = 1 + MONTHS.iter().position(|known| name == *known)? as u64;
    let (hour, minute, second) = (number(17..19)?, number(20..22)?, number(23..25)?);
    let days = days_before(year, month, day)?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    // Whatever is not as it should be, the name of the day included, comes out different.
    (format(seconds) == text.as_bytes()).then_some(seconds)
}

/// Year, month (1 to 12) and day (1 to 31) of the day `days` after 1970-01-01.
///
/// The calendar repeats every 146,097 days (400 years). Years are counted from March, so that the leap day is a year's
/// last and the months before it follow one linear rule: 153 days for every five.
fn civil(days: u64) -> (u64, u64, u64) {
    let from_march_0000 = days + 719_468;
    let (era, day_of_era) = (from_march_0000 / 146_097, from_march_0000 % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (400 * era + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`]. `None` before 1970.
fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    let year_from_march = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: u64, expected: &str) {
        assert_eq!(std::str::from_utf8(&format(seconds)).unwrap(), expected);
    }

    #[test]
    fn known_moments_have_their_known_texts() {
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
        check(1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT");
        check(1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT");
        check(2_147_483_647, "Tue, 19 Jan 2038 03:14:07 GMT");
        check(4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT");
        check(4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT");
        check(253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT");
        check(u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn every_day_follows_the_day_before_it() {
        let mut expected = (1970, 1, 1);
        for days in 0..200 * 366 {
            assert_eq!(civil(days), expected);
            let (year, month, day) = expected;
            assert_eq!(days_before(year, month, day), Some(days));
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let month_days = match month {
                2 if is_leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == month_days => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn a_text_that_no_moment_has_is_not_read() {
        for text in [
            "",
            "0",
            "Thu, 01 Jan 1970 00:00:00",
            "Thu, 01 Jan 1970 00:00:00 UTC",
            "Fri, 01 Jan 1970 00:00:00 GMT",
            "Thu, 00 Jan 1970 00:00:00 GMT",
            "Thu, 32 Jan 1970 00:00:00 GMT",
            "Thu, 01 Jan 1970 24:00:00 GMT",
            "Thu, +1 Jan 1970 00:00:00 GMT",
            "Thu, 01 jan 1970 00:00:00 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        for seconds in [0, 784_111_777, 951_782_400, 253_402_300_799] {
            let text = format(seconds);
            assert_eq!(read(std::str::from_utf8(&text).unwrap()), Some(seconds));
        }
    }
}
