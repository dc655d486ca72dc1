"""What one lane tells its observer: of its runs, of who joins, and of who leaves and why."""

from server.errors import DeadlineExpired, ModelNotReady, ReaderTooSlow, RequestCancelled, ServeError, ServerDraining
from server.generation.observer import GenerationObserver, LeaveReason, RunKind, StepRecord
from server.generation.request import GenerationRequest
from server.generation.running import Ran

_REASONS: dict[type[ServeError], LeaveReason] = {
    RequestCancelled: LeaveReason.CANCELLED,
    DeadlineExpired: LeaveReason.EXPIRED,
    ReaderTooSlow: LeaveReason.READER_TOO_SLOW,
    ServerDraining: LeaveReason.DRAINING,
    ModelNotReady: LeaveReason.DRAINING,
}


class Telling:
    """Notes in runs, in a worker thread; tells on the event loop's."""

    def __init__(self, model: str, version: int, precision: str, observer: GenerationObserver) -> None:
        self._model = model
        self._version = version
        self._precision = precision
        self._observer = observer
        self._records: list[StepRecord] = []

    def note(self, kind: RunKind, ran: Ran, predicted_s: float) -> None:
        """Keeps what a run was, to be told later."""
        self._records.append(
            StepRecord(
                model=self._model,
                version=self._version,
                kind=kind,
                rows=ran.rows,
                tokens=ran.tokens,
                compute_s=ran.seconds,
                predicted_s=predicted_s,
                variant=f"{self._precision}+maps" if ran.maps else self._precision,
                failed=ran.failed,
            )
        )

    def taken(self) -> list[StepRecord]:
        """The runs noted since the last time."""
        records, self._records = self._records, []
        return records

    def ran(self, records: list[StepRecord]) -> None:
        """Runs that were `taken`."""
        for record in records:
            self._observer.step_ran(record)

    def joined(self, request: GenerationRequest) -> None:
        """It has its rows."""
        self._observer.joined(self._model, self._version, request.joined_at - request.enqueued_at)

    def begun(self, request: GenerationRequest) -> None:
        """Its first token is there."""
        if request.first_at is not None:
            self._observer.first_token(self._model, self._version, max(0.0, request.first_at - request.enqueued_at))

    def finished(self, request: GenerationRequest) -> None:
        """It has left with its text, or with the error of telling it."""
        if request.error is not None:
            self.left(request)
            return
        tokens = len(request.ids) + (request.finish == "end")
        if request.first_at is not None:
            spent = (request.last_at - request.first_at) / max(1, tokens - 1)
            self._observer.finished(self._model, self._version, request.prompt_tokens, tokens, spent)
        assert request.finish is not None  # noqa: S101
        self._observer.left(self._model, self._version, LeaveReason(request.finish.value))

    def left(self, request: GenerationRequest, written: int = 0) -> None:
        """It has left with an error, or because its caller has gone, after so many new tokens."""
        reason = _REASONS.get(type(request.error), LeaveReason.FAILED) if request.error else LeaveReason.CANCELLED
        self._observer.left(self._model, self._version, reason, request.decoding.max_tokens - written)

    def paused(self) -> None:
        """A row rests, because its reader is behind."""
        self._observer.paused(self._model, self._version)

    def resumed(self) -> None:
        """It goes on."""
        self._observer.resumed(self._model, self._version)
