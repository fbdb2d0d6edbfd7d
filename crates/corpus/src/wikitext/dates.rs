//! Dates as templates take them, written out.

use super::render::push;
use super::templates::Args;

const MONTHS: [&str; 12] = [
    "janeiro",
    "fevereiro",
    "março",
    "abril",
    "maio",
    "junho",
    "julho",
    "agosto",
    "setembro",
    "outubro",
    "novembro",
    "dezembro",
];

/// A day as written: any part may be empty.
#[derive(Clone, Copy)]
struct Day<'a> {
    day: &'a str,
    month: &'a str,
    year: &'a str,
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

impl<'a> Day<'a> {
    /// Day, month and year in the order that fits: `15|11|1889`, `1889|11|15`, `11|1889`, `1889`.
    fn of([first, second, third]: [&'a str; 3]) -> Self {
        let year_first = number(first).is_some_and(|n| n > 31);
        let (day, month, year) = match (year_first, second.is_empty(), third.is_empty()) {
            (_, true, true) => ("", "", first),
            (true, _, _) => (third, second, first),
            (false, false, true) if number(second).is_some_and(|n| n > 31) => ("", first, second),
            _ => (first, second, third),
        };
        Self { day, month, year }
    }

    /// "15 de novembro de 1889"; `false` when it is no date.
    fn push(self, out: &mut Vec<u8>) -> bool {
        let month = match number(self.month) {
            Some(n @ 1..=12) => MONTHS[n as usize - 1],
            Some(_) => return false,
            None => self.month,
        };
        let day = match self.day.trim_start_matches('0') {
            "1" => "1º",
            day => day,
        };
        let mut any = false;
        for part in [day, month, self.year] {
            if part.is_empty() {
                continue;
            }
            if any {
                push(out, " de ");
            }
            push(out, part);
            any = true;
        }
        // A lone year has to look like one: other templates share the name.
        any && (!month.is_empty() || number(self.year).is_some_and(|y| (1..=9999).contains(&y)))
    }

    fn numbers(self) -> Option<(u32, u32, u32)> {
        Some((number(self.year)?, number(self.month)?, number(self.day)?))
    }
}

fn three<'a>(mut parts: impl Iterator<Item = &'a str>) -> [&'a str; 3] {
    [(); 3].map(|()| parts.next().unwrap_or(""))
}

/// A date.
pub(super) fn date(args: Args<'_>, out: &mut Vec<u8>) -> bool {
    Day::of(three(args.positional())).push(out)
}

/// A day of death, and the age when the day of birth follows: "2 de março de 1950 (60 anos)".
pub(super) fn death(args: Args<'_>, out: &mut Vec<u8>) -> bool {
    let death = Day::of(three(args.positional()));
    if !death.push(out) {
        return false;
    }
    let birth = Day::of(three(args.positional().skip(3)));
    if let (Some((year, month, day)), Some((born, born_month, born_day))) =
        (death.numbers(), birth.numbers())
        && year >= born
    {
        let not_yet = (month, day) < (born_month, born_day);
        let age = (year - born).saturating_sub(u32::from(not_yet));
        push(out, &format!(" ({age} anos)"));
    }
    true
}
