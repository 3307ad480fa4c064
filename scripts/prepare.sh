# Sourced by the other scripts: installs what is missing on a fresh machine (Debian with Rust), and says what it does.

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# need_command COMMAND PACKAGE: installs the Debian package if the command is not there.
need_command() {
    command -v "$1" >/dev/null && return
    command -v apt-get >/dev/null || fail "$1 is missing: install it (on Debian it is in the package $2)"
    say "$1 is missing: installing the Debian package $2"
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq "$2" >/dev/null
}

need_rust() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.89 or later (https://rustup.rs), then run this again"
    # SQLite and the TLS library are compiled from C.
    need_command cc build-essential
}

# need_cargo_tool NAME: installs a cargo subcommand under target/tools if it is not there.
need_cargo_tool() {
    export PATH="$PWD/target/tools/bin:$PATH"
    command -v "$1" >/dev/null && return
    say "$1 is missing: building it under target/tools (a few minutes, once)"
    cargo install --quiet --locked --root target/tools "$1"
}
