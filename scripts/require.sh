#!/usr/bin/env bash
# Sees to what a command needs on this machine: installs Debian's packages that are missing, says what to do about the rest.
# A need that cannot be met is a failure; nothing is skipped in silence.
set -euo pipefail

missing=()
need() { # command-or-file package
    case "$1" in
    /*) [ -e "$1" ] || missing+=("$2") ;;
    *) command -v "$1" >/dev/null || missing+=("$2") ;;
    esac
}
need cc gcc
need pkg-config pkg-config
need chrt util-linux
need /usr/include/openssl/ssl.h libssl-dev
for extra in "$@"; do
    case "$extra" in
    clients)
        need tmux tmux
        python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
        ;;
    engines)
        # What those need that $PCF_ENGINES_RUN starts.
        if [ -n "${PCF_ENGINES_RUN:-}" ]; then
            need xz xz-utils
            # Its package has another name in each release.
            if ! ldconfig -p | grep -q libicuuc; then
                missing+=("$(apt-cache pkgnames 2>/dev/null | grep -E '^libicu[0-9]+$' | sort | tail -1 || true)")
                [ -n "${missing[-1]}" ] || missing[-1]=libicu-dev
            fi
        fi
        ;;
    gitops)
        # A repository to commit to, as an archive for each commit.
        need git git
        ;;
    argocd)
        # What Argo CD is run with, in a network of its own.
        need redis-server redis-server
        need ip iproute2
        need unshare util-linux
        need git git
        ;;
    *)
        echo "require.sh: unknown need $extra" >&2
        exit 2
        ;;
    esac
done

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "These are missing, and this is no Debian: ${missing[*]}. Install what corresponds to them, then try again." >&2
        exit 1
    fi
    sudo=""
    if [ "$(id -u)" -ne 0 ]; then sudo="sudo"; fi
    echo "installing ${missing[*]}"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null; then
    echo "Rust is missing: install rustup (https://rustup.rs); the toolchain itself is pinned by rust-toolchain.toml." >&2
    exit 1
fi
if [ -z "${KUBEBUILDER_ASSETS:-}" ]; then
    version="$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)"
    minor="$(printf '%s' "$version" | sed -n 's/^go1\.\([0-9]*\).*/\1/p')"
    if [ -z "$minor" ] || [ "$minor" -lt 26 ]; then
        echo "Go 1.26 or newer is missing (found: ${version:-none}): it builds the Kubernetes control plane of the tests." >&2
        echo "Install it (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl." >&2
        exit 1
    fi
fi
