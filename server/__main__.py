"""`python -m server serve|check|profile`: serves the store, or says beforehand whether it could and what runs cost."""

import asyncio
import logging
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_settings import SettingsError

from server.bootstrap import Application
from server.check import before_start, check
from server.lifecycle import look_for_cycles_seldom, serve_until_signalled
from server.profile import profile, split_arguments
from server.settings import Settings, load_settings, unknown_variables
from server.store.scan import StoreUnavailable
from server.telemetry.logs import configure_logging

USAGE = """usage: python -m server COMMAND [FLAGS]

commands:
  serve     serve the models of the store until SIGTERM or SIGINT
  check     verify settings, runtime and every bundle of the store, then exit
  profile   measure what runs of each served model cost here; --model NAME for one, --plot FILE.png to draw it

`python -m server serve --help` lists every setting; each is also an environment variable ATTENDANT_<GROUP>__<NAME>.

exit codes: 0 all well; 1 could not start or a bundle is unusable; 2 wrong usage or settings
"""

OK, FAILED, WRONG_USAGE = 0, 1, 2

log = logging.getLogger("server")


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return OK if arguments else WRONG_USAGE
    command, *flags = arguments
    if command not in ("serve", "check", "profile"):
        print(f"unknown command {command!r}\n\n{USAGE}", end="", file=sys.stderr)
        return WRONG_USAGE
    own, flags = split_arguments(flags) if command == "profile" else (None, flags)
    settings = _settings(flags, f"python -m server {command}")
    if settings is None:
        return WRONG_USAGE
    if own is not None:
        return profile(settings, own.model, own.plot)
    return check(settings) if command == "check" else _serve(settings)


def _settings(flags: Sequence[str], program: str) -> Settings | None:
    """The settings, or None after saying what is wrong with them."""
    mistyped, foreign = unknown_variables()
    for name in mistyped:
        print(f"environment variable {name} names no setting; docs/settings.md lists them all", file=sys.stderr)
    if mistyped:
        return None
    try:
        settings = load_settings(flags, program)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            name = ".".join(map(str, problem["loc"]))
            message = problem["msg"].removeprefix("Value error, ")
            print(f"setting {name}: {message}" if name else f"settings: {message}", file=sys.stderr)
        return None
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        return None
    configure_logging(settings.telemetry.log_level, settings.telemetry.log_format)
    for name in foreign:
        log.warning("environment variable names no setting and is ignored", extra={"variable": name})
    return settings


def _serve(settings: Settings) -> int:
    problems, warnings = before_start(settings)
    for problem in problems:
        log.error("cannot start: %s", problem)
    if problems:
        return FAILED
    for warning in warnings:
        log.warning(warning)
    look_for_cycles_seldom()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve_until_signalled(Application(settings), settings.grpc.drain_grace_s))
    except (OSError, StoreUnavailable) as error:
        log.error("cannot start: %s", error.strerror if isinstance(error, OSError) else error)
        return FAILED
    return OK


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """Uvloop's loop where it is installed: gRPC calls cost a tenth less on it."""
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
