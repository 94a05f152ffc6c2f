"""The routers of a managed network: they carry packets between containers of different hosts.

`drover vxlan` and `drover ipsec` run beside a holder container, in its network namespace, on every host. They learn
from metadata which addresses live elsewhere and tell the kernel (and strongSwan) the way; no packet passes through
Python. `drover connectivity-check` asks the other hosts' routers whether they can be reached.
"""
