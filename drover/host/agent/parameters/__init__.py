"""From the server's description of a container to the parameters of Docker's create call.

Pure functions: the same request and the same facts give the same parameters, so the whole mapping is tested
without an engine. `docker_parameters` is the way in; the other modules are its chapters.
"""

from drover.host.agent.parameters.create import CreateParameters, docker_parameters, image_reference
from drover.host.agent.parameters.facts import ImageDefaults, MappingFacts
from drover.host.agent.parameters.host_config import Dropped
from drover.host.agent.parameters.names import container_name

__all__ = [
    "CreateParameters",
    "Dropped",
    "ImageDefaults",
    "MappingFacts",
    "container_name",
    "docker_parameters",
    "image_reference",
]
