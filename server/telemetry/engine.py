"""How each version runs: its variants and what they cost, in which precision, together or alone; and the cores."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from server.loading.loaded import LoadedVersion

_VERSION = ("model", "version")


@dataclass(frozen=True, slots=True)
class Cores:
    """The budget of cores, as it stands now."""

    budget: int = 0
    taken: int = 0


class EngineCollector:
    """Emits the gauges; both questions are asked from the scraping thread."""

    def __init__(self, loaded: Callable[[], Iterable[LoadedVersion]], cores: Callable[[], Cores]) -> None:
        self._loaded = loaded
        self._cores = cores

    def collect(self) -> Iterator[Metric]:
        """All families, even where nothing serves."""
        cores = self._cores()
        yield GaugeMetricFamily("attendant_cores", "Cores that runs may take.", value=cores.budget)
        yield GaugeMetricFamily("attendant_cores_taken", "Cores that runs take now.", value=cores.taken)
        variants = GaugeMetricFamily(
            "attendant_variant_info", "1 for each variant open.", labels=(*_VERSION, "variant", "graph", "provider")
        )
        threads = GaugeMetricFamily(
            "attendant_variant_threads", "Cores that one run takes.", labels=(*_VERSION, "variant")
        )
        costs = GaugeMetricFamily(
            "attendant_cost_seconds",
            "The fitted cost of a run, of a row, a token and a pair of tokens in it.",
            labels=(*_VERSION, "variant", "per"),
        )
        alone = GaugeMetricFamily("attendant_served_alone", "1 where requests never share a run.", labels=_VERSION)
        calibrated = GaugeMetricFamily("attendant_calibrated", "1 where costs were measured.", labels=_VERSION)
        errors = GaugeMetricFamily(
            "attendant_precision_max_error",
            "Largest difference from the fp32 answers to the golden rows.",
            labels=(*_VERSION, "precision"),
        )
        cosines = GaugeMetricFamily(
            "attendant_precision_min_cosine",
            "Least cosine to the fp32 answers to the golden rows.",
            labels=(*_VERSION, "precision"),
        )
        for one in self._loaded():
            version = (one.bundle.model, str(one.bundle.version))
            alone.add_metric(version, int(not one.together))
            calibrated.add_metric(version, int(one.calibrated))
            for variant in one.variants:
                fitted = variant.cost.coefficients
                variants.add_metric((*version, variant.name, variant.graph, variant.provider), 1)
                threads.add_metric((*version, variant.name), variant.threads)
                for per, seconds in (
                    ("run", fitted.fixed_s),
                    ("row", fitted.row_s),
                    ("token", fitted.token_s),
                    ("pair", fitted.pair_s),
                ):
                    costs.add_metric((*version, variant.name, per), seconds)
            for precision, error in one.errors.items():
                errors.add_metric((*version, precision), error.max_error)
                cosines.add_metric((*version, precision), error.min_cosine)
        yield from (variants, threads, costs, alone, calibrated, errors, cosines)
