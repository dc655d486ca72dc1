"""The load generator: request lists, schedules, the compiled client, checked replies, latencies.

request list + schedule -> plan -> client (a process of its own) -> records -> checked -> Measured
"""
