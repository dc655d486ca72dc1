"""A real Prometheus over servers on this machine, with the shipped configuration and rules."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import yaml

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
PATIENCE_S = 60.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str]) -> Iterator[str]:
    """Runs one that scrapes `targets` (address by job) each second, and gives its URL."""
    url = f"127.0.0.1:{free_port()}"
    shutil.copy(SHIPPED / "alerts.yml", folder)
    configuration = folder / "prometheus.yml"
    configuration.write_text(adapted({**targets, "prometheus": url}))
    command = ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        running = subprocess.Popen([*command, f"--web.listen-address={url}"], stdout=log, stderr=log)
    try:
        yield f"http://{url}"
    finally:
        running.terminate()
        running.wait(PATIENCE_S)


def adapted(targets: Mapping[str, str]) -> str:
    """The shipped configuration with these addresses in place of names, and a scrape and an evaluation each second."""
    configuration = yaml.safe_load((SHIPPED / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    for job in configuration["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    return yaml.safe_dump(configuration)


def scrapes(url: str) -> int:
    """How often a server was scraped so far; 0 while Prometheus is not up."""
    query = "count_over_time(up{job='attendant'}[1h])"
    try:
        with urlopen(f"{url}/api/v1/query?query={query}") as reply:  # noqa: S310
            found = json.load(reply)["data"]["result"]
    except URLError:
        return 0
    return int(found[0]["value"][1]) if found else 0
