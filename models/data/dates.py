"""`dates`: generated dates as people write them, and the same in ISO 8601; nothing to download.

Every text has one reading. Figures between slashes or dashes, of which the year is last, are written only where the day
is over 12 or equal to the month; two figures for a year only in 1969 to 2068, as POSIX reads them (69 to 99 are
19xx, 00 to 68 are 20xx).
"""

import random
import unicodedata
from collections.abc import Mapping
from datetime import date, timedelta

from models.data.date_names import LANGUAGES, NUMERIC, NUMERIC_BY_SIZE, Language
from models.data.splits import Split
from models.data.texts import Texts

SOURCE = "generated dates, 1900 to 2099, in English, German, French, Spanish, Italian, Dutch and figures"
COLUMNS = ("source", "target")
FIRST, LAST = date(1900, 1, 1), date(2099, 12, 31)
FIRST_OF_TWO_FIGURES, LAST_OF_TWO_FIGURES = date(1969, 1, 1), date(2068, 12, 31)
MONTHS_IN_A_YEAR = 12

TRAIN, VALIDATION, TEST = 32_000, 1_000, 2_000
"""Dates in each split; every date is in one split, once."""

# How often a text departs from its style, as people do.
LOWER_CASE, UPPER_CASE, NO_COMMAS, NO_ACCENTS = 0.15, 0.1, 0.15, 0.08


def generated_dates(seed: int, sizes: tuple[int, int, int] = (TRAIN, VALIDATION, TEST)) -> Texts:
    """Pairs of a date as somebody might write it and its ISO form; `sizes` are of training, validation and test.

    The dates are drawn without replacement, so that none is in two splits, in whatever form.
    """
    rng = random.Random(f"dates {seed}")
    days = rng.sample(range((LAST - FIRST).days + 1), sum(sizes))
    dates = [FIRST + timedelta(days=day) for day in days]
    train, validation, _ = sizes
    numbers = tuple(range(len(dates)))
    return Texts(
        source=SOURCE,
        columns=COLUMNS,
        rows=tuple((write(day, rng), day.isoformat()) for day in dates),
        split=Split(numbers[:train], numbers[train : train + validation], numbers[train + validation :]),
    )


def write(day: date, rng: random.Random) -> str:
    """The date as somebody might write it: in some language or in figures, in some style, more or less carefully."""
    language = rng.choice((*LANGUAGES, None))
    text = rng.choice(styles(day, language)).format_map(fields(day, language or LANGUAGES[0]))
    case = rng.random()
    if case < LOWER_CASE:
        text = text.lower()
    elif case < LOWER_CASE + UPPER_CASE:
        text = text.upper()
    if rng.random() < NO_COMMAS:
        text = text.replace(",", "")
    if rng.random() < NO_ACCENTS:
        text = without_accents(text)
    return text


def styles(day: date, language: Language | None) -> tuple[str, ...]:
    """The styles in which the date has one reading; without a language, those in figures."""
    if language is not None:
        possible = language.styles
    elif day.day > MONTHS_IN_A_YEAR or day.day == day.month:
        possible = NUMERIC + NUMERIC_BY_SIZE
    else:
        possible = NUMERIC
    if FIRST_OF_TWO_FIGURES <= day <= LAST_OF_TWO_FIGURES:
        return possible
    return tuple(style for style in possible if "{y}" not in style)


def fields(day: date, language: Language) -> Mapping[str, str]:
    """What a style may name: day, month and year in figures and in the language's words."""
    return {
        "d": str(day.day),
        "dd": f"{day.day:02}",
        "m": str(day.month),
        "mm": f"{day.month:02}",
        "y": f"{day.year % 100:02}",
        "Y": str(day.year),
        "month": language.months[day.month - 1],
        "mon": language.short_months[day.month - 1],
        "weekday": language.weekdays[day.weekday()],
        "wd": language.short_weekdays[day.weekday()],
        "nth": language.ordinals[day.day - 1],
        "written": language.written[day.day - 1],
    }


def without_accents(text: str) -> str:
    """The text as a keyboard without accents gives it: `février` becomes `fevrier`."""
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))
