"""Images at the server's request: `storage.image.activate` and the pull task (`compute.instance.pull`)."""

from __future__ import annotations

from aiodocker.exceptions import DockerError

from drover.host.agent.engine import Engine, JsonObject
from drover.host.agent.errors import AgentError
from drover.host.agent.images import Images, Progress, with_tag
from drover.host.agent.payload import ImageRequest, PullRequest


class ImageRequests:
    def __init__(self, engine: Engine, images: Images) -> None:
        self._engine = engine
        self._images = images

    async def activate(self, request: ImageRequest, progress: Progress) -> JsonObject:
        """Makes the image of one container present: at once when it is, else by a build or a pull."""
        image = request.image_storage_pool_map.image
        reference = (image.name or "").removeprefix("docker:")
        if not reference:
            raise AgentError("the request names no image: image.name is empty")
        if request.process_data is not None and request.process_data.container_no_op_event:
            return _activated()
        if await self._images.present(reference):
            return _activated()
        fields = image.data.fields if image.data else None
        if fields is not None and fields.build is not None:
            await self._images.build(fields.build, progress=progress)
        else:
            await self._images.pull(reference, credential=image.registry_credential, progress=progress)
        return _activated()

    async def pull(self, request: PullRequest, progress: Progress) -> JsonObject:
        """Pull task: `cached` only looks, otherwise the image gets a temporary tag until `complete`."""
        pull = request.instance_pull
        docker_image = pull.image.data.docker_image if pull.image and pull.image.data else None
        if docker_image is None or not docker_image.full_name:
            raise AgentError("the pull names no image: dockerImage.fullName is empty")
        reference = docker_image.full_name
        if docker_image.server:
            reference = f"{docker_image.server}/{reference}"
        # Plain concatenation, as in Rancher 1.6: the tag ends what is there, `app:1` + `pull-ab`.
        marked = f"{with_tag(reference)}{pull.tag or ''}"
        if pull.complete:
            await self._remove_mark(marked)
            return {}
        if pull.mode != "cached":
            credential = pull.image.registry_credential if pull.image else None
            await self._images.pull(reference, credential=credential, progress=progress)
            repository, tag = split_reference(marked)
            await self._engine.tag_image(with_tag(reference), repository=repository, tag=tag)
        return {"fields": {"dockerImage": await self._engine.inspect_image(with_tag(reference))}}

    async def _remove_mark(self, marked: str) -> None:
        try:
            await self._engine.remove_image(marked, force=True)
        except DockerError as error:
            if error.status != 404:
                raise


def split_reference(reference: str) -> tuple[str, str]:
    """`host:5000/name:tag` -> (`host:5000/name`, `tag`); without a tag, `latest`."""
    path, slash, last = reference.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{path}{slash}{name}", tag or "latest"


def _activated() -> JsonObject:
    return {"imageStoragePoolMap": {}}
