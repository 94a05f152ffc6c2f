"""The metadata server of a host: what containers and the host's other programs know of their environment.

How a change travels: `program` takes it from the server, `publication` applies it, which touches the `relations` and
the rendered objects of each `tree`, wakes long polls (`waiters`) and passes the change on (`streams`). How a request
travels: `connection` parses it, `answers` routes it, `walk` finds the value, `render` makes the bytes.
"""
