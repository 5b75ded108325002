//! Functions of times: milliseconds since 1970, and texts as in RFC 3339.

use serde_json::Value;

use super::{EvalError, arguments::Arguments};

pub(super) fn time(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let text = a.text(0)?;
    millis(text)
        .map(Value::from)
        .ok_or_else(|| EvalError(format!("`$time`: `{text}` is no time as in RFC 3339, such as 2030-01-31T12:00:00Z")))
}

/// Milliseconds since 1970 of a time as in RFC 3339.
pub(crate) fn millis(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let (year, month, day) = triple(date, '-')?;
    let (hour, minute, second) = triple(time, ':')?;
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("0", rest),
    };
    let thousandths = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
            sign * (number(hours, 2)? * 60 + number(minutes, 2)?)
        }
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
    in_range.then_some(seconds * 1_000 + thousandths)
}

fn triple(text: &str, separator: char) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(separator);
    let (a, b, c) = (parts.next()?, parts.next()?, parts.next()?);
    let parsed = (number(a, a.len())?, number(b, 2)?, number(c, 2)?);
    parts.next().is_none().then_some(parsed)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days from 1970-01-01, by the rule of the Gregorian calendar: years begin in March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

pub(super) fn is_time(a: &Arguments<'_>) -> Result<Value, EvalError> {
    Ok(a.at(0).as_str().is_some_and(|text| millis(text).is_some()).into())
}

pub(super) fn moment(a: &Arguments<'_>) -> Result<Value, EvalError> {
    let ms = a.int(0)?;
    let (day, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = date(day);
    if !(0..=9_999).contains(&year) {
        return Err(EvalError(format!("`$moment`: the year {year} has not four digits")));
    }
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z").into())
}

/// The other way around: year, month and day of a day since 1970-01-01. An era is 400 years, after which the calendar repeats itself.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}
