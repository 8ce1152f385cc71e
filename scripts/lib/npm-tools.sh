# What the scripts share that test with packages from npm. They source this file in the folder of the repository.

# Exits with 3 where node or npm is missing, so that .ci/run can list the step as not done.
require_npm() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        echo "$0: node and npm are required, and at least one of them is missing" >&2
        exit 3
    fi
}

# Installs packages into a folder below target/ci, whose name has the versions, and sets `tools` to it: install_tools NAME PACKAGE…
install_tools() {
    tools=$PWD/target/ci/$1
    shift
    [ ! -f "$tools/complete" ] || return 0
    rm -rf "$tools"
    npm install --prefix "$tools" --no-save --no-audit --no-fund --loglevel=error "$@"
    touch "$tools/complete"
}
