# What the scripts of the Makefile share. Sourced by bash with `set -euo pipefail` in force.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE="$ROOT/.state"   # generated, outside git: build contexts, downloads, what `make down` has to undo

say() { printf '==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

need_root() {
    is_root || die "$1 needs root (network namespaces, container engine). Run: sudo make $2"
}

# The engine's command line. A client newer than the engine would ask for the buildx plug-in; Debian 12 has none.
export DOCKER_BUILDKIT=0

hash_of() { cat "$@" | sha256sum | cut -c1-16; }

# Name of the image that everything in production runs from.
DROVER_IMAGE=${DROVER_IMAGE:-drover:latest}

# The first mirror of the main archive that the machine's apt uses for the suite $1.
debian_mirror() {
    [ -z "${DEBIAN_MIRROR:-}" ] || { echo "$DEBIAN_MIRROR"; return; }
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$1" '$2 == suite && $3 == "main" && !seen++ { print $1 }'
}

# debootstrap does not read apt's configuration; wget, which it calls, takes a proxy from the environment.
use_apt_proxy() {
    local proxy
    proxy=$(apt-config dump --format '%v%n' Acquire::http::Proxy | head -n 1)
    [ -z "$proxy" ] || export http_proxy="${http_proxy:-$proxy}"
}
