"""The load balancer: what an environment says about a balancer, carried out by HAProxy or another provider.

A pure function turns the world into a model (frontends, routes, backends, servers). Two models are compared, and the
provider makes the smallest change that leads from one to the other; traffic never passes through this program.
"""
