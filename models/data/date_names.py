"""How six languages name and write dates: months, weekdays, days of the month, and the styles in use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language's names, and its styles.

    months, short_months: January first.
    weekdays, short_weekdays: Monday first.
    ordinals: the days of the month as numbers with what their style puts around them: 1st, 2nd, …
    written: the days of the month in letters, as their style has them.
    styles: patterns over the fields of `models.data.dates.fields`.
    """

    name: str
    months: tuple[str, ...]
    short_months: tuple[str, ...]
    weekdays: tuple[str, ...]
    short_weekdays: tuple[str, ...]
    ordinals: tuple[str, ...]
    written: tuple[str, ...]
    styles: tuple[str, ...]


DAYS = range(1, 32)


def _ordinals(ending: str, *first: str) -> tuple[str, ...]:
    """The days with an ending; those of `first` stand for the first days."""
    return first + tuple(f"{day}{ending}" for day in DAYS[len(first) :])


def _english_ordinal(day: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{day}{'th' if day in (11, 12, 13) else endings.get(day % 10, 'th')}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


ENGLISH = Language(
    name="English",
    months=_names("January, February, March, April, May, June, July, August, September, October, November, December"),
    short_months=_names("Jan, Feb, Mar, Apr, May, Jun, Jul, Aug, Sep, Oct, Nov, Dec"),
    weekdays=_names("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    short_weekdays=_names("Mon, Tue, Wed, Thu, Fri, Sat, Sun"),
    ordinals=tuple(_english_ordinal(day) for day in DAYS),
    written=_names(
        "first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth, eleventh, twelfth, thirteenth, "
        "fourteenth, fifteenth, sixteenth, seventeenth, eighteenth, nineteenth, twentieth, twenty-first, "
        "twenty-second, twenty-third, twenty-fourth, twenty-fifth, twenty-sixth, twenty-seventh, twenty-eighth, "
        "twenty-ninth, thirtieth, thirty-first"
    ),
    styles=(
        "{weekday}, {d} {month} {Y}",
        "{weekday}, {month} {d}, {Y}",
        "{d} {month} {Y}",
        "{month} {d}, {Y}",
        "{mon} {nth}, {Y}",
        "{mon} {d}, {Y}",
        "{d} {mon} {Y}",
        "{wd}, {d} {mon} {Y}",
        "{wd} {mon} {d} {Y}",
        "{month} {nth} {Y}",
        "the {nth} of {month} {Y}",
        "{weekday} the {nth} of {month}, {Y}",
        "the {written} of {month} {Y}",
        "{month} the {written}, {Y}",
        "{dd}-{mon}-{Y}",
        "{d} {mon} '{y}",
        "{mon} {d}, '{y}",
        "{weekday}, {d} {month} {y}",
    ),
)

GERMAN = Language(
    name="German",
    months=_names("Januar, Februar, März, April, Mai, Juni, Juli, August, September, Oktober, November, Dezember"),
    short_months=_names("Jan., Feb., März, Apr., Mai, Juni, Juli, Aug., Sept., Okt., Nov., Dez."),
    weekdays=_names("Montag, Dienstag, Mittwoch, Donnerstag, Freitag, Samstag, Sonntag"),
    short_weekdays=_names("Mo, Di, Mi, Do, Fr, Sa, So"),
    ordinals=_ordinals("."),
    written=_names(
        "erste, zweite, dritte, vierte, fünfte, sechste, siebte, achte, neunte, zehnte, elfte, zwölfte, dreizehnte, "
        "vierzehnte, fünfzehnte, sechzehnte, siebzehnte, achtzehnte, neunzehnte, zwanzigste, einundzwanzigste, "
        "zweiundzwanzigste, dreiundzwanzigste, vierundzwanzigste, fünfundzwanzigste, sechsundzwanzigste, "
        "siebenundzwanzigste, achtundzwanzigste, neunundzwanzigste, dreißigste, einunddreißigste"
    ),
    styles=(
        "{weekday}, {nth} {month} {Y}",
        "{weekday}, der {nth} {month} {Y}",
        "{weekday}, den {nth} {month} {Y}",
        "{nth} {month} {Y}",
        "{nth} {mon} {Y}",
        "{wd}, {nth} {mon} {Y}",
        "am {nth} {month} {Y}",
        "der {written} {month} {Y}",
        "am {written}n {month} {Y}",
        "{weekday}, {dd}.{mm}.{Y}",
        "{wd}, {dd}.{mm}.{y}",
        "{nth} {month} {y}",
    ),
)

FRENCH = Language(
    name="French",
    months=_names("janvier, février, mars, avril, mai, juin, juillet, août, septembre, octobre, novembre, décembre"),
    short_months=_names("janv., févr., mars, avr., mai, juin, juil., août, sept., oct., nov., déc."),
    weekdays=_names("lundi, mardi, mercredi, jeudi, vendredi, samedi, dimanche"),
    short_weekdays=_names("lun., mar., mer., jeu., ven., sam., dim."),
    ordinals=_ordinals("", "1er"),
    written=_names(
        "premier, deux, trois, quatre, cinq, six, sept, huit, neuf, dix, onze, douze, treize, quatorze, quinze, seize, "
        "dix-sept, dix-huit, dix-neuf, vingt, vingt et un, vingt-deux, vingt-trois, vingt-quatre, vingt-cinq, "
        "vingt-six, vingt-sept, vingt-huit, vingt-neuf, trente, trente et un"
    ),
    styles=(
        "le {nth} {month} {Y}",
        "{weekday} {nth} {month} {Y}",
        "le {weekday} {nth} {month} {Y}",
        "{nth} {month} {Y}",
        "{nth} {mon} {Y}",
        "{wd} {nth} {mon} {Y}",
        "le {written} {month} {Y}",
        "{weekday} {written} {month} {Y}",
        "le {nth} {month} {y}",
    ),
)

SPANISH = Language(
    name="Spanish",
    months=_names(
        "enero, febrero, marzo, abril, mayo, junio, julio, agosto, septiembre, octubre, noviembre, diciembre"
    ),
    short_months=_names("ene, feb, mar, abr, may, jun, jul, ago, sept, oct, nov, dic"),
    weekdays=_names("lunes, martes, miércoles, jueves, viernes, sábado, domingo"),
    short_weekdays=_names("lun, mar, mié, jue, vie, sáb, dom"),
    ordinals=_ordinals("", "1º"),
    written=_names(
        "primero, dos, tres, cuatro, cinco, seis, siete, ocho, nueve, diez, once, doce, trece, catorce, quince, "
        "dieciséis, diecisiete, dieciocho, diecinueve, veinte, veintiuno, veintidós, veintitrés, veinticuatro, "
        "veinticinco, veintiséis, veintisiete, veintiocho, veintinueve, treinta, treinta y uno"
    ),
    styles=(
        "{d} de {month} de {Y}",
        "{weekday}, {d} de {month} de {Y}",
        "el {d} de {month} de {Y}",
        "el {weekday} {d} de {month} del {Y}",
        "{nth} de {month} de {Y}",
        "{d} {mon} {Y}",
        "{wd}, {d} {mon} {Y}",
        "el {written} de {month} de {Y}",
        "{written} de {month} de {Y}",
        "{d} de {month} de {y}",
    ),
)

ITALIAN = Language(
    name="Italian",
    months=_names(
        "gennaio, febbraio, marzo, aprile, maggio, giugno, luglio, agosto, settembre, ottobre, novembre, dicembre"
    ),
    short_months=_names("gen, feb, mar, apr, mag, giu, lug, ago, set, ott, nov, dic"),
    weekdays=_names("lunedì, martedì, mercoledì, giovedì, venerdì, sabato, domenica"),
    short_weekdays=_names("lun, mar, mer, gio, ven, sab, dom"),
    # The article is elided before a vowel: otto, undici.
    ordinals=tuple(f"l'{day}" if day in (8, 11) else f"il {'1º' if day == 1 else day}" for day in DAYS),
    written=_names(
        "primo, due, tre, quattro, cinque, sei, sette, otto, nove, dieci, undici, dodici, tredici, quattordici, "
        "quindici, sedici, diciassette, diciotto, diciannove, venti, ventuno, ventidue, ventitré, ventiquattro, "
        "venticinque, ventisei, ventisette, ventotto, ventinove, trenta, trentuno"
    ),
    styles=(
        "{d} {month} {Y}",
        "{nth} {month} {Y}",
        "{weekday} {d} {month} {Y}",
        "{weekday}, {d} {month} {Y}",
        "{d} {mon} {Y}",
        "{wd} {d} {mon} {Y}",
        "{written} {month} {Y}",
        "{weekday} {written} {month} {Y}",
        "{d} {month} '{y}",
    ),
)

DUTCH = Language(
    name="Dutch",
    months=_names("januari, februari, maart, april, mei, juni, juli, augustus, september, oktober, november, december"),
    short_months=_names("jan., feb., mrt., apr., mei, jun., jul., aug., sep., okt., nov., dec."),
    weekdays=_names("maandag, dinsdag, woensdag, donderdag, vrijdag, zaterdag, zondag"),
    short_weekdays=_names("ma, di, wo, do, vr, za, zo"),
    ordinals=_ordinals("e"),
    written=_names(
        "een, twee, drie, vier, vijf, zes, zeven, acht, negen, tien, elf, twaalf, dertien, veertien, vijftien, "
        "zestien, zeventien, achttien, negentien, twintig, eenentwintig, tweeëntwintig, drieëntwintig, vierentwintig, "
        "vijfentwintig, zesentwintig, zevenentwintig, achtentwintig, negenentwintig, dertig, eenendertig"
    ),
    styles=(
        "{d} {month} {Y}",
        "{weekday} {d} {month} {Y}",
        "{weekday}, {d} {month} {Y}",
        "op {weekday} {d} {month} {Y}",
        "{d} {mon} {Y}",
        "{wd} {d} {mon} {Y}",
        "de {nth} {month} {Y}",
        "{written} {month} {Y}",
        "{weekday} {written} {month} {Y}",
        "{d} {month} '{y}",
    ),
)

LANGUAGES = (ENGLISH, GERMAN, FRENCH, SPANISH, ITALIAN, DUTCH)

NUMERIC = (
    "{Y}-{mm}-{dd}",
    "{Y}/{mm}/{dd}",
    "{Y}.{mm}.{dd}",
    "{Y}{mm}{dd}",
    "{dd}.{mm}.{Y}",
    "{d}.{m}.{Y}",
    "{dd}.{mm}.{y}",
)
"""Styles in figures alone that have one reading: the year first, or between dots, where the day comes first."""
NUMERIC_BY_SIZE = ("{mm}/{dd}/{Y}", "{m}/{d}/{Y}", "{dd}/{mm}/{Y}", "{d}/{m}/{Y}", "{dd}-{mm}-{Y}", "{mm}-{dd}-{Y}")
"""Styles that have one reading only where the day is no month (over 12) or both are the same number."""
