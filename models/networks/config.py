"""Checks shared by the networks' configs; each raises ValueError naming the field."""

from collections.abc import Collection


def check_positive(**fields: int) -> None:
    """Raises ValueError for the first field that is not a positive whole number."""
    for name, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, not {value!r}")


def check_probability(**fields: float) -> None:
    """Raises ValueError for the first field outside [0, 1); to drop everything is never meant."""
    for name, value in fields.items():
        if not 0.0 <= value < 1.0:
            raise ValueError(f"{name} must be at least 0 and below 1, not {value!r}")


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raises ValueError if `value` is none of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
