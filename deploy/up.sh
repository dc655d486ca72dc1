#!/bin/sh
# Starts services, returns once all of them are healthy, and says where they are.
#   deploy/up.sh 'docker compose' 2                   two servers and all that belongs to them
#   deploy/up.sh 'docker compose' 2 envoy prometheus  only these and what they depend on
set -eu
compose=$1 replicas=$2
shift 2
patience_s=120

$compose up -d --scale "server=$replicas" "$@"

states() {
    # shellcheck disable=SC2046
    docker inspect --format '{{.Name}} {{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' \
        $($compose ps -a -q)
}

until_s=$(($(date +%s) + patience_s))
while waiting=$(states | grep -E ' (created|starting|restarting|unhealthy)$'); do
    if [ "$(date +%s)" -ge "$until_s" ]; then
        printf 'not healthy after %s s:\n%s\n' "$patience_s" "$waiting" >&2
        exit 1
    fi
    sleep 0.5
done

where() { # service port what
    if address=$($compose port "$1" "$2" 2>/dev/null) && [ -n "$address" ]; then
        printf '%-11s %-21s %s\n' "$1" "$address" "$3"
    fi
}
where envoy 8001 "calls: gRPC, gRPC-Web, JSON"
where prometheus 9090 "metrics and alerts"
where grafana 3000 "dashboards"
