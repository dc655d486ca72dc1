"""The running stack: which replicas there are, whether they take calls, and what compose is told."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
"""A replica that is not ready after so long will not be."""
STOP_S = 40
"""Longer than the server drains; docker-compose.yml says the same."""
LOOK_S = 0.5

ENVOY_STATISTICS = (
    r"exec 3<>/dev/tcp/127.0.0.1/9901; "
    r"printf 'GET /stats/prometheus HTTP/1.1\r\nhost:envoy\r\nconnection:close\r\n\r\n' >&3; cat <&3"
)
SERVER_METRICS = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8002/metrics').read().decode())"


class OperationFailed(Exception):
    """The stack is not as it should be; the message says what to look at."""


class Stack:
    """The services of docker-compose.yml, by compose's own variables in the environment.

    `environment` is added to this process's, for instance COMPOSE_PROJECT_NAME.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {**os.environ, **(environment or {})}

    def compose(self, *arguments: str, **environment: str) -> str:
        """Runs compose and returns what it printed. Raises OperationFailed where it fails."""
        return self._run([*_compose(), *arguments], environment)

    def docker(self, *arguments: str) -> str:
        """Runs docker and returns what it printed. Raises OperationFailed where it fails."""
        return self._run(["docker", *arguments], {})

    def replicas(self) -> list[str]:
        """The containers of running servers, the oldest first."""
        names = self.compose("ps", "-q", "server").split()
        if not names:
            return []
        told = self.docker("inspect", "--format", "{{.Created}} {{.Id}} {{.State.Running}}", *names)
        return [line.split()[1] for line in sorted(told.splitlines()) if line.endswith("true")]

    def address(self, service: str, port: int) -> str:
        """Where a service is published."""
        return self.compose("port", service, str(port)).strip()

    def scale(self, servers: int, **environment: str) -> None:
        """Starts servers until there are so many; those that run stay as they are."""
        number = f"server={servers}"
        self.compose("up", "-d", "--no-recreate", "--no-deps", "--no-build", "--scale", number, "server", **environment)

    def healthy(self, servers: int) -> None:
        """Waits until so many servers are healthy, and Envoy sends calls to exactly so many.

        Raises OperationFailed where that does not come about.
        """
        self.until(f"{servers} healthy servers", lambda: self._healthy_replicas() == servers)
        self.until(f"Envoy has {servers} healthy servers", lambda: self._known_to_envoy() == servers)

    def remove(self, replica: str) -> None:
        """Stops a server, which drains first, and removes its container."""
        self.docker("stop", "--time", str(STOP_S), replica)
        self.docker("rm", replica)

    def metrics(self, replica: str) -> str:
        """What one server tells of itself."""
        return self.docker("exec", replica, "python", "-c", SERVER_METRICS)

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Looks again and again. Raises OperationFailed, with `what` was waited for, after PATIENCE_S."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > deadline:
                raise OperationFailed(f"not so after {PATIENCE_S:.0f} s: {what}; see `docker compose ps` and its logs")
            time.sleep(LOOK_S)

    def _healthy_replicas(self) -> int:
        """How many are healthy. Raises OperationFailed, with the end of its log, for one that starts in vain."""
        replicas = self.compose("ps", "-q", "server").split()
        if not replicas:
            return 0
        state = "{{.Id}} {{.State.Restarting}} {{.State.ExitCode}} {{.State.Health.Status}}"
        told = [line.split() for line in self.docker("inspect", "--format", state, *replicas).splitlines()]
        for replica, restarting, code, _ in told:
            if restarting == "true":
                raise OperationFailed(f"{replica[:12]} exited with {code}: {self._log_of(replica)}")
        return sum(health == "healthy" for *_, health in told)

    def _log_of(self, replica: str) -> str:
        """The last line."""
        told = self._run(["docker", "logs", "--tail", "1", replica], {}, stderr=subprocess.STDOUT)
        return told.strip()

    def _known_to_envoy(self) -> int:
        told = self.compose("exec", "-T", "envoy", "bash", "-c", ENVOY_STATISTICS)
        found = re.search(r'^envoy_cluster_membership_healthy\{envoy_cluster_name="server"\} (\d+)', told, re.M)
        return int(found[1]) if found else 0

    def _run(self, command: Sequence[str], environment: Mapping[str, str], stderr: int = subprocess.PIPE) -> str:
        own = {**self._environment, **environment}
        done = subprocess.run(  # noqa: S603, the operator's own tools
            command, cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False
        )
        if done.returncode:
            raise OperationFailed(f"`{' '.join(command)}` ended with {done.returncode}: {(done.stderr or '').strip()}")
        return done.stdout


def _compose() -> list[str]:
    """Compose, the second version where it is installed; COMPOSE says which."""
    named = os.environ.get("COMPOSE")
    if named:
        return named.split()
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)  # noqa: S607
    return ["docker", "compose"] if plugin.returncode == 0 or not shutil.which("docker-compose") else ["docker-compose"]
