# Sourced by the other scripts. Installs what is missing on a fresh machine (Debian with Rust), and says so.

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

# print_usage: prints the comment at the top of the script.
print_usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "scripts/${0##*/}"; }

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# need_package PACKAGE: installs the Debian package.
need_package() {
    command -v apt-get >/dev/null || fail "install the equivalent of Debian's package $1, then run this again"
    say "installing the Debian package $1"
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >/dev/null
}

# need_command COMMAND PACKAGE: installs the Debian package if the command is missing.
need_command() {
    command -v "$1" >/dev/null || need_package "$2"
}

# need_rust: fails unless the Rust version of Cargo.toml or a later one is installed.
need_rust() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null ||
        fail "cargo is missing: install Rust $needed or later (https://rustup.rs), then run this again"
    found=$(rustc --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)" = "$needed" ] ||
        fail "Rust $found is too old: install $needed or later (rustup update), then run this again"
    # SQLite and the TLS library are compiled from C.
    need_command cc build-essential
}

# built_in PROFILE: prints the folder in which cargo puts the programs of a profile.
built_in() {
    echo "${CARGO_TARGET_DIR:-target}/$([ "$1" = dev ] && echo debug || echo "$1")"
}

# need_cargo_tool NAME VERSION: installs a cargo subcommand under target/tools if it is missing.
need_cargo_tool() {
    export PATH="$PWD/target/tools/bin:$PATH"
    command -v "$1" >/dev/null && return
    say "$1 is missing: building it under target/tools (takes a few minutes, once)"
    # The tools' own profiles optimise as for a release, which takes many times as long.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_PROFILE_RELEASE_DEBUG=false \
        cargo install --quiet --locked --root target/tools --version "$2" "$1"
}

# need_postgresql: installs the server's programs, which Debian keeps out of PATH. The tests start their own
# servers.
need_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return
    need_package postgresql
}

# postgresql_programs: prints the folder of the newest server's programs.
postgresql_programs() {
    printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1 | xargs dirname
}

# need_nginx: installs nginx, which Debian keeps out of a user's PATH.
need_nginx() {
    [ -x /usr/sbin/nginx ] || need_package nginx-light
}

# need_patroni: installs what the tests need to start a cluster of PostgreSQL servers. PostgreSQL runs as a
# user that may read Debian's Python, but maybe not the one that comes first in PATH.
need_patroni() {
    need_postgresql
    need_command psql postgresql-client
    [ -x /usr/bin/etcd ] || need_package etcd-server
    need_command ip iproute2
    need_command faketime faketime
    PYTHON=/usr/bin/python3 need_venv patroni 'patroni[etcd3]==4.1.5' psycopg2-binary==2.9.13
}

# need_npm_package NAME VERSION: installs a package from npm under target/npm, unless it is there.
need_npm_package() {
    grep -qs "\"version\": \"$2\"" "target/npm/node_modules/$1/package.json" && return
    need_command npm npm
    say "installing $1 $2 into target/npm"
    npm install --silent --no-audit --no-fund --prefix target/npm "$1@$2"
}

# need_venv NAME REQUIREMENT…: creates a Python virtual environment under target/venvs, unless it exists.
# PYTHON may name another Python than the first in PATH.
need_venv() {
    local folder=target/venvs/$1 python=${PYTHON:-python3}
    shift
    [ "$(cat "$folder/requirements" 2>/dev/null)" = "$*" ] && return
    need_command "$python" python3-venv
    say "installing $* into $folder"
    rm -rf "$folder"
    # On Debian, the module venv is a separate package.
    "$python" -m venv "$folder" 2>/dev/null || { need_package python3-venv && "$python" -m venv "$folder"; }
    "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
    printf '%s\n' "$*" >"$folder/requirements"
}
