"""What can go wrong in the agent, in words for the person who started a container or a host."""

from drover.common.errors import DroverError


class AgentError(DroverError):
    """A request failed; the text is shown to the user as the container's message."""


class RegistrationError(DroverError):
    """The host could not be registered; trying again without a change will not help."""


class IdentityError(DroverError):
    """The identity on disk belongs to another machine, or another agent already serves this engine."""
