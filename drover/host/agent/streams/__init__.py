"""Streams: logs, shells, statistics and the Docker socket, for users of the server.

All of them share one WebSocket that the agent opens (the host needs no open port), multiplexed by a text
protocol. `backend` keeps that socket, `multiplex` is the protocol, the other modules are one kind of stream each.
"""
