"""``/v1/scripts/<name>``: what a machine fetches before it has any credentials but a registration token.

The texts are pure functions of what the server knows. Their form is fixed by the agents that read them: first line,
one export a line, values in double quotes (Rancher 1.6). Values are checked before they are put into a script, because
some of them come from request headers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from drover.server.api.auth.access import AccessControl
from drover.server.api.auth.directory import usable
from drover.server.api.request import ApiConfig, base_url, client_address
from drover.server.orchestration.images.own import own_image
from drover.server.orchestration.settings import Settings

PACKAGED_IMAGE = "rancher/agent:v1.2.11"  # the default that clients of Rancher 1.6 expect in the list of settings

_COMMAND = (
    "sudo docker run --rm --privileged -v /var/run/docker.sock:/var/run/docker.sock "
    "-v /var/lib/rancher:/var/lib/rancher {image} {url}"
)
_SAFE_URL = re.compile(r"https?://[A-Za-z0-9.\-_~:/?#\[\]@!&'()*+,;=%]+\Z")
_SAFE_TOKEN = re.compile(r"[A-Za-z0-9:]+\Z")
_SAFE_ADDRESS = re.compile(r"[0-9A-Fa-f.:]+\Z")
_SAFE_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*\Z")
_NO_STORE = {"Cache-Control": "no-store"}


def agent_image(settings: Settings) -> str:
    """The image that hosts run: the setting when somebody set it, else Drover's own."""
    configured = settings.get("bootstrap.required.image")
    return own_image(settings) if configured in ("", PACKAGED_IMAGE) else configured


def registration_command(image: str, url: str) -> str:
    """What a person pastes into the shell of a new host."""
    return _COMMAND.format(image=image, url=url)


def script_base(settings: Settings, base: str, api_version: str) -> str:
    """Where hosts reach the API: the setting ``api.host`` when it is set, else the URL of the request."""
    host = settings.get("api.host").strip().rstrip("/")
    if not host:
        return f"{base}/{api_version}"
    if "://" not in host:
        host = f"http://{host}"
    return host + (settings.get("cattle.url.path") or "/v1")


def registration_script(*, token: str, url: str, client_ip: str) -> str:
    """The script behind a registration URL. Raises ValueError for a value that no shell may see."""
    _require(_SAFE_TOKEN, token, "token")
    _require(_SAFE_URL, url, "url")
    address = client_ip if _SAFE_ADDRESS.match(client_ip) else ""
    lines = [
        "#!/bin/sh",
        'export CATTLE_REGISTRATION_ACCESS_KEY="registrationToken"',
        f'export CATTLE_REGISTRATION_SECRET_KEY="{token}"',
        f'export CATTLE_URL="{url}"',
        f'export DETECTED_CATTLE_AGENT_IP="{address}"',
    ]
    return "\n".join(lines) + "\n"


def bootstrap_script(*, image: str, client_ip: str, ca_pem: str) -> str:
    """What an agent image runs once it has its keys: name the image that is wanted, trust the server, start the agent.

    Raises ValueError for an image name that no shell may see.
    """
    _require(_SAFE_IMAGE, image, "bootstrap.required.image")
    address = client_ip if _SAFE_ADDRESS.match(client_ip) else ""
    return _BOOTSTRAP.replace("@IMAGE@", image).replace("@ADDRESS@", address).replace("@CA@", ca_pem.strip())


_BOOTSTRAP = """\
#!/bin/bash
set -e
REQUIRED_IMAGE="@IMAGE@"
DETECTED_CATTLE_AGENT_IP="@ADDRESS@"

CATTLE_HOME="${CATTLE_HOME:-/var/lib/cattle}"
for file in /etc/cattle/agent/bootstrap.conf "$CATTLE_HOME/etc/cattle/agent/bootstrap.conf" \\
    /var/lib/rancher/etc/agent.conf; do
    if [ -e "$file" ]; then
        . "$file"
    fi
done
export CATTLE_HOME
export CATTLE_AGENT_IP="${CATTLE_AGENT_IP:-$DETECTED_CATTLE_AGENT_IP}"
export REQUIRED_IMAGE

mkdir -p "$CATTLE_HOME/etc/ssl"
cat > "$CATTLE_HOME/etc/ssl/ca.crt" << 'END_OF_CA'
@CA@
END_OF_CA
export DROVER_CA_FILE="$CATTLE_HOME/etc/ssl/ca.crt"

exec drover agent
"""


def _require(pattern: re.Pattern[str], value: str, name: str) -> None:
    if not pattern.match(value):
        raise ValueError(f"{name} {value[:80]!r} cannot be put into a script; correct the setting or the address used")


def scripts_routes(access: AccessControl, config: ApiConfig) -> Sequence[BaseRoute]:
    """The routes of the scripts, in every version and below a project. They come before the API's own."""
    scripts = _Scripts(access, config)
    paths = ("/v1", "/v2-beta", "/v1/projects/{project}", "/v2-beta/projects/{project}")
    return [Route(f"{path}/scripts/{{name}}", scripts.serve, methods=["GET"]) for path in paths]


class _Scripts:
    """Answers without authentication: the token in the URL is the proof, and the rest is public."""

    def __init__(self, access: AccessControl, config: ApiConfig) -> None:
        self._access = access
        self._settings = access.context.settings
        self._config = config

    async def serve(self, request: Request) -> Response:
        name = str(request.path_params["name"])
        address = client_address(request, self._config)
        match name:
            case "api.crt":
                return PlainTextResponse(self._access.host_keys.public_pem)
            case "ca.pem":
                return PlainTextResponse(self._access.host_keys.ca_pem)
            case "bootstrap":
                return await self._bootstrap(request, address)
        return await self._registration(request, name, address)

    async def _bootstrap(self, request: Request, address: str) -> Response:
        if await self._access.authenticate(request) is None:
            return PlainTextResponse("Use the agent's keys\n", 401, headers=_NO_STORE)
        text = bootstrap_script(
            image=agent_image(self._settings), client_ip=address, ca_pem=self._access.host_keys.ca_pem
        )
        return PlainTextResponse(text, headers=_NO_STORE)

    async def _registration(self, request: Request, name: str, address: str) -> Response:
        token = await self._access.directory.registration(name)
        owner = await self._access.directory.account(token.account_id) if token and token.account_id else None
        if not usable(owner):
            return PlainTextResponse("There is no such script\n", 404, headers=_NO_STORE)
        base = script_base(self._settings, base_url(request, self._config, self._settings), "v1")
        url = self._settings.get("agent.instance.register.url").strip() or base
        return PlainTextResponse(registration_script(token=name, url=url, client_ip=address), headers=_NO_STORE)
