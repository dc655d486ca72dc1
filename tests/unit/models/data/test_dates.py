import random
import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.date_names import LANGUAGES
from models.data.dates import FIRST, LAST, fields, generated_dates, styles, without_accents, write

# How each month begins, in some language, its accents gone: written down anew, not taken from what is tested.
# fmt: off
MONTHS = {
    "jan": 1, "ene": 1, "gen": 1, "feb": 2, "fev": 2, "mar": 3, "maa": 3, "mrt": 3, "apr": 4, "avr": 4, "abr": 4,
    "may": 5, "mai": 5, "mag": 5, "mei": 5, "jun": 6, "juin": 6, "giu": 6, "jul": 7, "juil": 7, "lug": 7, "aug": 8,
    "aou": 8, "ago": 8, "sep": 9, "set": 9, "oct": 10, "okt": 10, "ott": 10, "nov": 11, "dec": 12, "dez": 12,
    "dic": 12,
}
DAYS_IN_WORDS = """
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
    sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third twenty-fourth
    twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"""
# fmt: on
EVERY_DAY = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
dates = st.dates(FIRST, LAST)
languages = st.sampled_from([*LANGUAGES, None])


def read_in_figures(text: str) -> date | None:
    """A date of which all is written in figures."""
    if match := re.fullmatch(r"(\d{4})([-/.]?)(\d{2})\2(\d{2})", text):
        return date(int(match[1]), int(match[3]), int(match[4]))
    if match := re.fullmatch(r"(?:\D+, ?)?(\d{1,2})([-/.])(\d{1,2})\2(\d{2}|\d{4})", text):
        first, second, year = int(match[1]), int(match[3]), full_year(match[4])
        if match[2] == "." or first > 12 or first == second:
            return date(year, second, first)
        assert second > 12, f"{text} has two readings"
        return date(year, first, second)
    return None


def read_in_words(text: str) -> date:
    """A date whose month is a word, and whose day is in figures: the year is the last number, the day the first."""
    plain = without_accents(text).lower()
    numbers = re.findall(r"\d+", plain)
    months = {number for word in re.findall(r"[a-z]+", plain) for number in month_of(word)}
    return date(full_year(numbers[-1]), min(months), int(numbers[0]))


def month_of(word: str) -> list[int]:
    """The month that a word begins like, unless it is a day of the week that does."""
    if word in ("mardi", "martes", "martedi", "maandag"):
        return []
    return [number for start, number in MONTHS.items() if word.startswith(start)][-1:]


def full_year(figures: str) -> int:
    year = int(figures)
    return year if len(figures) == 4 else year + (1900 if year >= 69 else 2000)


@given(dates)
def test_what_is_in_figures_reads_back_as_the_same_date(day):
    for style in styles(day, None):
        assert read_in_figures(style.format_map(fields(day, LANGUAGES[0]))) == day


@given(dates, st.sampled_from(LANGUAGES), st.integers(0, 2**32))
def test_what_is_in_words_reads_back_as_the_same_date(day, language, seed):
    for style in styles(day, language):
        if "{written}" in style or "{wd}" in style:
            continue
        text = style.format_map(fields(day, language))
        assert (read_in_figures(text) or read_in_words(text)) == day, text


@given(dates)
def test_a_day_in_words_is_the_one_that_it_names(day):
    english, ordinal = LANGUAGES[0], DAYS_IN_WORDS.split()[day.day - 1]
    text = "the {written} of {month} {Y}".format_map(fields(day, english))
    assert text.split()[1] == ordinal
    assert text == f"the {ordinal} of {day:%B} {day.year}"


@given(dates)
def test_english_names_are_those_of_the_calendar(day):
    text = "{weekday} {wd} {month} {mon}".format_map(fields(day, LANGUAGES[0]))
    assert text == f"{day:%A} {day:%a} {day:%B} {day:%b}"


def test_no_text_is_written_for_two_dates():
    """Three years of every language and style, in every case, with and without accents and commas."""
    meaning: dict[str, date] = {}
    for day in (day for day in EVERY_DAY if day.year in (1926, 2002, 2026)):
        for language in (*LANGUAGES, None):
            for style in styles(day, language):
                text = style.format_map(fields(day, language or LANGUAGES[0])).lower()
                for variant in (text, text.replace(",", ""), without_accents(text)):
                    assert meaning.setdefault(variant, day) == day, variant


def test_no_short_month_means_two_months():
    meaning: dict[str, int] = {}
    for language in LANGUAGES:
        for names in (language.months, language.short_months):
            for number, name in enumerate(names, start=1):
                assert meaning.setdefault(name.rstrip(".").lower(), number) == number, name


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_a_language_names_every_month_weekday_and_day(language):
    for names, count in (
        (language.months, 12),
        (language.short_months, 12),
        (language.weekdays, 7),
        (language.short_weekdays, 7),
        (language.ordinals, 31),
        (language.written, 31),
    ):
        assert len(names) == count == len(set(names))


@given(dates, languages)
def test_two_figures_stand_only_for_years_that_posix_reads_so(day, language):
    assert any("{y}" in style for style in styles(day, language)) == (1969 <= day.year <= 2068)


@given(dates)
def test_slashes_are_written_only_where_the_day_is_no_month(day):
    written = [style for style in styles(day, None) if "/" in style and not style.startswith("{Y}")]
    assert bool(written) == (day.day > 12 or day.day == day.month)


@pytest.mark.parametrize(
    ("text", "language", "style"),
    [
        ("Saturday, 21 November 2026", 0, "{weekday}, {d} {month} {Y}"),
        ("Nov 21st, 2026", 0, "{mon} {nth}, {Y}"),
        ("21. November 2026", 1, "{nth} {month} {Y}"),
        ("am einundzwanzigsten November 2026", 1, "am {written}n {month} {Y}"),
        ("le 21 novembre 2026", 2, "le {nth} {month} {Y}"),
        ("21 de noviembre de 2026", 3, "{d} de {month} de {Y}"),
        ("sabato 21 novembre 2026", 4, "{weekday} {d} {month} {Y}"),
        ("za 21 nov. 2026", 5, "{wd} {d} {mon} {Y}"),
    ],
)
def test_a_date_is_written_as_each_language_writes_it(text, language, style):
    day = date(2026, 11, 21)
    assert style in styles(day, LANGUAGES[language])
    assert style.format_map(fields(day, LANGUAGES[language])) == text


def test_no_held_out_date_is_in_training_in_any_form():
    texts = generated_dates(0)
    splits = [{texts.rows[index][1] for index in part} for part in (texts.split.train, texts.split.validation)]
    test = {texts.rows[index][1] for index in texts.split.test}
    assert not test & splits[0]
    assert not test & splits[1]
    assert not splits[0] & splits[1]
    assert sum(map(len, (*splits, test))) == len(texts.rows)


def test_same_seed_writes_the_same_and_another_one_does_not():
    first, again, other = (generated_dates(seed, (50, 10, 10)) for seed in (3, 3, 4))
    assert first == again
    assert first.rows != other.rows


def test_targets_are_iso_dates_of_the_whole_range():
    texts = generated_dates(1)
    days = [date.fromisoformat(target) for _, target in texts.rows]
    assert min(days).year == 1900
    assert max(days).year == 2099
    assert all(target == day.isoformat() for day, (_, target) in zip(days, texts.rows, strict=True))


def test_every_style_of_every_language_is_written():
    rng, day = random.Random(0), date(2026, 11, 21)
    written = {write(day, rng) for _ in range(6000)}
    for language in (*LANGUAGES, None):
        for style in styles(day, language):
            assert style.format_map(fields(day, language or LANGUAGES[0])) in written
