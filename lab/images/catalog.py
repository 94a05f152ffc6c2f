"""Which images the lab's registry serves."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """An image as a slice of Debian packages.

    `programs` are copied together with the shared libraries they load; `files` maps further paths to their text, and
    a text that begins with `#!` becomes executable; `applets` adds busybox and a link for each of its commands.
    """

    name: str
    programs: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    applets: bool = False
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    environment: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",)
    stop_signal: str = "SIGTERM"
    user: str = ""


PACKAGES = ("busybox", "tini", "nginx-light", "redis-server", "redis-tools", "apache2-utils", "wrk")
"""The Debian packages that all images are cut from."""

_TINI = "/usr/bin/tini-static"

_HOSTNAME_PAGE = """\
#!/usr/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
hostname
"""

_ENVIRONMENT_PAGE = """\
#!/usr/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
env
"""

_NGINX_CONFIG = """\
worker_processes 1;
daemon off;
pid /run/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    server {
        listen 80 default_server;
        root /srv/www;
        location = /hostname { default_type text/plain; return 200 "$hostname\\n"; }
    }
}
"""

SHELL = ImageSpec(
    name="lab/shell",
    applets=True,
    command=("/usr/bin/sh",),
    # A shell or `sleep` as process 1 ignores SIGTERM; nobody should wait ten seconds for it to end.
    stop_signal="SIGKILL",
)

WEB = ImageSpec(
    name="lab/web",
    programs=(_TINI,),
    applets=True,
    files={
        "/srv/www/cgi-bin/index.cgi": _HOSTNAME_PAGE,
        "/srv/www/cgi-bin/env": _ENVIRONMENT_PAGE,
        "/srv/www/health": "ok\n",
    },
    entrypoint=(_TINI, "--"),
    command=("/usr/bin/httpd", "-f", "-p", "80", "-h", "/srv/www"),
    ports=("80/tcp",),
)

NGINX = ImageSpec(
    name="lab/nginx",
    programs=("/usr/sbin/nginx",),
    applets=True,
    files={"/etc/nginx/nginx.conf": _NGINX_CONFIG, "/srv/www/index.html": "lab/nginx\n"},
    directories=("/var/log/nginx", "/var/lib/nginx", "/run"),
    command=("/usr/sbin/nginx",),
    ports=("80/tcp",),
    stop_signal="SIGQUIT",
)

REDIS = ImageSpec(
    name="lab/redis",
    programs=("/usr/bin/redis-server", "/usr/bin/redis-cli"),
    applets=True,
    directories=("/data",),
    command=("/usr/bin/redis-server", "--save", "", "--protected-mode", "no", "--dir", "/data"),
    ports=("6379/tcp",),
)

LOAD = ImageSpec(
    name="lab/load",
    programs=("/usr/bin/ab", "/usr/bin/wrk"),
    applets=True,
    command=("/usr/bin/sh",),
    stop_signal="SIGKILL",
)

LAB_IMAGES = (SHELL, WEB, NGINX, REDIS, LOAD)
