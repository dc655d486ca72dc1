"""ModelStatistics in Triton's message, from what each version counted."""

from collections.abc import Iterable

from server.servable import Servable
from server.telemetry.statistics import Duration, StatisticsSnapshot
from server.wire import grpc_service_pb2 as wire


def model_statistics(servables: Iterable[Servable]) -> wire.ModelStatisticsResponse:
    """One entry a version, in the order given."""
    return wire.ModelStatisticsResponse(model_stats=[_entry(servable) for servable in servables])


def _entry(servable: Servable) -> wire.ModelStatistics:
    counted = servable.statistics.snapshot()
    return wire.ModelStatistics(
        name=servable.name,
        version=str(servable.version),
        last_inference=counted.last_inference_ms,
        inference_count=counted.inference_count,
        execution_count=counted.execution_count,
        inference_stats=_times(counted),
        batch_stats=[
            wire.InferBatchStatistics(
                batch_size=batch.batch_size,
                compute_input=_duration(batch.compute_input),
                compute_infer=_duration(batch.compute_infer),
                compute_output=_duration(batch.compute_output),
            )
            for batch in counted.batch_stats
        ],
    )


def _times(counted: StatisticsSnapshot) -> wire.InferStatistics:
    return wire.InferStatistics(
        success=_duration(counted.success),
        fail=_duration(counted.fail),
        queue=_duration(counted.queue),
        compute_input=_duration(counted.compute_input),
        compute_infer=_duration(counted.compute_infer),
        compute_output=_duration(counted.compute_output),
        cache_hit=_duration(counted.cache_hit),
        cache_miss=_duration(counted.cache_miss),
    )


def _duration(total: Duration) -> wire.StatisticDuration:
    return wire.StatisticDuration(count=total.count, ns=total.ns)
