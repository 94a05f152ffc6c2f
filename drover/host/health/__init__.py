"""The health checker of a host (`drover healthcheck`): probes containers and reports what changed to the server.

`checklist` reads from the environment what this host is to check; `schedule` says when, `probe` does it, `state`
counts; `guard` holds back what may be the checker's own fault, and `reports` tells the server.
"""
