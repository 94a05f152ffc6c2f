"""Images and the registries they come from."""
