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
