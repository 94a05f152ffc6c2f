"""The network manager of a host: attaches containers, publishes ports, enforces policies, and repairs all three.

It decides nothing by itself: what should be is computed from the environment as metadata shows it (`drover.client.
world`) and from the local Docker engine; the kernel carries the packets. When this program stops, traffic goes on.
"""
