"""The models that write token by token: what callers feel, the running batch, and how texts end."""

from deploy.grafana.board import Row, board
from deploy.grafana.panels import Line, graph
from deploy.grafana.promql import SELECTED, mean, or_zero, quantile, rate, summed

FIRST_TOKEN_OBJECTIVE_S = 1.0
"""The 99th percentile of the time to the first token that the alert AttendantFirstTokenLate holds."""

_MODEL = "{{model}}"
_FULL = 1.0


def dashboard() -> str:
    """The dashboard as JSON."""
    return board(
        "attendant-generation",
        "Attendant / Generation",
        "Models that write token by token: times, tokens, slots, and how texts end.",
        [_times(), _tokens(), _slots(), _ends()],
        models_of="attendant_generation_slots",
    )


def _times() -> Row:
    return Row(
        "Time",
        [
            graph(
                "Time to the first token",
                "From admission until the first token was there. High with a long wait: slots are full. High without: "
                "long prompts; see Runs by kind.",
                "s",
                _quantiles("attendant_generation_first_token_seconds"),
                limit=FIRST_TOKEN_OBJECTIVE_S,
            ),
            graph(
                "Time per token",
                "A text's mean time between two tokens. Risen: more rows in a step, prompts read between the steps, or "
                "other models on the same cores.",
                "s",
                _quantiles("attendant_generation_token_seconds"),
            ),
            graph(
                "Wait for slots",
                "From admission until a generation joined the running batch. High: see AttendantGenerationSlotsFull in "
                "the runbook.",
                "s",
                _quantiles("attendant_generation_queue_seconds"),
            ),
        ],
    )


def _tokens() -> Row:
    computed = summed("model, kind", rate("attendant_generation_run_tokens_total", SELECTED))
    runs = summed("model, kind", rate("attendant_generation_run_seconds_sum", SELECTED))
    predicted = summed("model", rate("attendant_generation_predicted_seconds_total", SELECTED))
    took = summed("model", rate("attendant_generation_run_seconds_sum", SELECTED))
    failed = summed("model, kind", rate("attendant_generation_run_failures_total", SELECTED))
    return Row(
        "Tokens and runs",
        [
            graph(
                "Tokens computed",
                "Tokens a second, read (encode, prefill) and written (step). Steps flat while generations wait: the "
                "cores or the slots are the bound.",
                "none",
                [Line(computed, f"{_MODEL} {{{{kind}}}}")],
                width=6,
                stacked=True,
            ),
            graph(
                "Runs by kind",
                "Cores kept busy. Prefill near step: long prompts hold up the texts being written; lower "
                "generation.prefill_tokens for smoother streams, raise it for earlier first tokens.",
                "none",
                [Line(runs, f"{_MODEL} {{{{kind}}}}")],
                width=6,
                stacked=True,
            ),
            graph(
                "Rows of a step",
                "Rows that wrote a token together, on average. Near 1 while generations wait: see State memory and "
                "the setting generation.static.",
                "none",
                [
                    Line(mean("attendant_generation_run_rows", SELECTED, "model"), f"{_MODEL} mean"),
                    Line(quantile(0.95, "attendant_generation_run_rows", SELECTED, "model"), f"{_MODEL} p95"),
                ],
                width=6,
            ),
            graph(
                "Predicted over measured",
                "What the cost model said that runs would take, over what they took. Far from 1 for long: deadlines "
                "are judged wrongly; the host's load has changed since the version was loaded.",
                "percentunit",
                [Line(f"{predicted} / {took}", _MODEL)],
                width=3,
            ),
            graph(
                "Failed runs",
                "By kind. Not 0: each ended the texts in it; the log has the cause and the requests. Move the alias "
                "back if it began with a version.",
                "ops",
                [Line(or_zero(failed, "kind"), f"{_MODEL} {{{{kind}}}}")],
                width=3,
            ),
        ],
    )


def _slots() -> Row:
    def share(of: str, by: str) -> str:
        return f"max by (model) (attendant_generation_{of}{{{SELECTED}}} / attendant_generation_{by}{{{SELECTED}}})"

    return Row(
        "Slots",
        [
            graph(
                "Slots used",
                "Of the fullest replica. At 100% while others wait: add replicas or cores; a larger "
                "generation.max_rows makes each step slower, and more texts a second.",
                "percentunit",
                [Line(share("slots_used", "slots"), _MODEL)],
                width=6,
                highest=_FULL,
            ),
            graph(
                "State memory",
                "State buffers against generation.max_state_bytes, of the fullest replica. Near the bound with slots "
                "free: see AttendantGenerationStateFull in the runbook.",
                "percentunit",
                [Line(share("state_bytes", "state_capacity_bytes"), _MODEL)],
                width=6,
                highest=_FULL,
            ),
            graph(
                "Generations that wait",
                "By replica. Growing: more texts are asked for than written; at generation.max_waiting further ones "
                "are refused with QUEUE_FULL.",
                "none",
                [
                    Line(
                        summed("model, instance", f"attendant_generation_waiting{{{SELECTED}}}"),
                        "{{model}} {{instance}}",
                    )
                ],
                width=6,
                stacked=True,
            ),
            graph(
                "Rows paused",
                "Rows that keep a slot and wait for their reader. Many: slow readers take the slots of others; see "
                "AttendantReadersTooSlow in the runbook.",
                "none",
                [
                    Line(
                        summed("model, instance", f"attendant_generation_paused{{{SELECTED}}}"),
                        "{{model}} {{instance}}",
                    )
                ],
                width=6,
                stacked=True,
            ),
        ],
    )


def _ends() -> Row:
    leaves = summed("model, reason", rate("attendant_generation_leaves_total", SELECTED))
    return Row(
        "Generations",
        [
            graph(
                "How they end",
                "end, stop, length: as asked. failed: see Failed runs. expired: deadlines too short, or slots full. "
                "reader_too_slow: see the runbook. length far above end: max_tokens cuts texts off.",
                "ops",
                [Line(or_zero(leaves, "reason"), f"{_MODEL} {{{{reason}}}}")],
                width=6,
                stacked=True,
            ),
            graph(
                "Joins",
                "Generations that took their slots, a second. Below what is asked for: they wait.",
                "ops",
                [Line(summed("model", rate("attendant_generation_joins_total", SELECTED)), _MODEL)],
                width=3,
            ),
            graph(
                "Pauses",
                "Generations paused for their reader, and stepped again, a second. Alike: a larger "
                "generation.stream_buffer bridges the stalls. Fewer stepped again: readers have stopped reading.",
                "ops",
                [
                    Line(summed("model", rate("attendant_generation_pauses_total", SELECTED)), f"{_MODEL} paused"),
                    Line(summed("model", rate("attendant_generation_resumes_total", SELECTED)), f"{_MODEL} resumed"),
                ],
                width=3,
            ),
            graph(
                "Steps saved",
                "Steps a second not made because the caller went away, its deadline passed or it read too slowly. "
                "Near the steps made: callers give up on most of what they ask for.",
                "none",
                [Line(summed("model", rate("attendant_generation_steps_saved_total", SELECTED)), _MODEL)],
                width=6,
            ),
            graph(
                "Tokens read and written",
                "Of generations that ended well, a second. Far below Tokens computed: most are given up.",
                "none",
                [
                    Line(summed("model", rate("attendant_generation_tokens_in_total", SELECTED)), f"{_MODEL} in"),
                    Line(summed("model", rate("attendant_generation_tokens_out_total", SELECTED)), f"{_MODEL} out"),
                ],
                width=6,
            ),
        ],
    )


def _quantiles(histogram: str) -> list[Line]:
    return [Line(quantile(share, histogram, SELECTED, "model"), f"{_MODEL} p{share * 100:g}") for share in (0.5, 0.99)]
