"""LogSettings: Triton's switches read from and turned into the level and the format of this server's log.

Triton has a switch for each severity. Here the log has one level, below which nothing is written: a switch that is on
means "at least down to here", one that is off "not down to here", and those not named stay as they are, as far as
that goes together.
"""

import logging
from collections.abc import Mapping
from typing import get_args

from server.errors import NotImplementedHere, ParameterInvalid
from server.rpc.addressing import shown
from server.rpc.call import Call
from server.settings import TelemetrySettings
from server.telemetry.logs import LogFormat, LogLevel, configure_logging
from server.wire import grpc_service_pb2 as wire

log = logging.getLogger(__name__)

LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)
"""From all to little."""
FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
SWITCHES: Mapping[str, LogLevel] = {
    "log_verbose_level": "debug",
    "log_info": "info",
    "log_warning": "warning",
    "log_error": "error",
}
LOG_FILE, LOG_FORMAT = "log_file", "log_format"
DEFAULT_FORMAT = "default"
"""Triton's word; here the format with which the server was started."""

_Choice = wire.LogSettingsRequest.SettingValue
_Settings = Mapping[str, _Choice]


class LogControl:
    """Answers LogSettings; changes are for those whom the operator has allowed it."""

    def __init__(self, telemetry: TelemetrySettings, *, allowed: bool) -> None:
        self._started = telemetry
        self._level: LogLevel = telemetry.log_level
        self._format: LogFormat = telemetry.log_format
        self._allowed = allowed

    async def settings(self, request: wire.LogSettingsRequest, _: Call) -> wire.LogSettingsResponse:
        """Changes what is named, all or nothing, and tells how it is now.

        Raises NotImplementedHere for a change where changes are switched off, ParameterInvalid for a setting that is
        unknown, mistyped, not to be had, or contradicts another.
        """
        if request.settings:
            if not self._allowed:
                raise NotImplementedHere("log settings are not changed by calls (security.log_control)")
            self._change(*self._read(request.settings))
        return self._told()

    def _read(self, settings: _Settings) -> tuple[LogLevel, LogFormat]:
        for name in settings.keys() - {*SWITCHES, LOG_FILE, LOG_FORMAT}:
            known = ", ".join((*SWITCHES, LOG_FORMAT))
            raise ParameterInvalid(f"unknown log setting {shown(name)}; expected {known}", {"parameter": name[:128]})
        if LOG_FILE in settings and settings[LOG_FILE] not in (_Choice(), _Choice(string_param="")):
            raise ParameterInvalid(
                "log_file: the log goes to standard error; no file is opened for a call", {"parameter": LOG_FILE}
            )
        return self._new_level(settings), self._new_format(settings)

    def _new_level(self, settings: _Settings) -> LogLevel:
        """The level nearest to the present one that every named switch agrees with."""
        lowest, highest = 0, len(LEVELS) - 1
        for name, level in SWITCHES.items():
            if name not in settings:
                continue
            if self._is_on(name, settings[name]):
                highest = min(highest, LEVELS.index(level))
            else:
                lowest = max(lowest, LEVELS.index(level) + 1)
        if lowest == len(LEVELS):
            raise ParameterInvalid("log_error: errors are always logged", {"parameter": "log_error"})
        if lowest > highest:
            raise ParameterInvalid(
                f"the log has one level: it cannot write {LEVELS[highest]} but not {LEVELS[lowest - 1]}",
                {"parameter": _switch_of(LEVELS[lowest - 1])},
            )
        return LEVELS[min(max(LEVELS.index(self._level), lowest), highest)]

    def _is_on(self, name: str, value: _Choice) -> bool:
        """What a switch is set to; one without a value goes back to how the server was started."""
        kind = value.WhichOneof("parameter_choice")
        if kind is None:
            return LEVELS.index(self._started.log_level) <= LEVELS.index(SWITCHES[name])
        if name == "log_verbose_level":
            if kind != "uint32_param":
                raise ParameterInvalid(f"{name} must be a uint32: 0, or more for debug", {"parameter": name})
            return value.uint32_param > 0
        if kind != "bool_param":
            raise ParameterInvalid(f"{name} must be a bool", {"parameter": name})
        return value.bool_param

    def _new_format(self, settings: _Settings) -> LogFormat:
        if LOG_FORMAT not in settings:
            return self._format
        chosen = settings[LOG_FORMAT].string_param or DEFAULT_FORMAT
        if chosen == DEFAULT_FORMAT and settings[LOG_FORMAT].WhichOneof("parameter_choice") in (None, "string_param"):
            return self._started.log_format
        for known in FORMATS:
            if chosen == known:
                return known
        allowed = ", ".join((*FORMATS, DEFAULT_FORMAT))
        raise ParameterInvalid(f"log_format must be one of {allowed}; got {shown(chosen)}", {"parameter": LOG_FORMAT})

    def _change(self, level: LogLevel, log_format: LogFormat) -> None:
        if (level, log_format) == (self._level, self._format):
            return
        told = {"before": f"{self._level} {self._format}", "after": f"{level} {log_format}"}
        quieter = LEVELS.index(level) > LEVELS.index(self._level)
        if quieter:  # told while it is still heard
            log.warning("log settings are changed by a call", extra=told)
        configure_logging(level, log_format)
        self._level, self._format = level, log_format
        if not quieter:
            log.warning("log settings were changed by a call", extra=told)

    def _told(self) -> wire.LogSettingsResponse:
        response = wire.LogSettingsResponse()
        response.settings[LOG_FILE].string_param = ""
        for name, level in SWITCHES.items():
            on = LEVELS.index(self._level) <= LEVELS.index(level)
            if name == "log_verbose_level":
                response.settings[name].uint32_param = int(on)
            else:
                response.settings[name].bool_param = on
        response.settings[LOG_FORMAT].string_param = self._format
        return response


def _switch_of(level: LogLevel) -> str:
    return next(name for name, switched in SWITCHES.items() if switched == level)
