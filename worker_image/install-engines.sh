#!/bin/sh
# Installs those of the engines that need a version of Python, each in an environment of its own. An engine's build.sh
# compiles what is not Python, with the packages of its build.lock:
#   install-engines.sh VERSION "NAME NAME…"
set -eu
mkdir -p /opt/engine-environments
for name in $2; do
    folder="/opt/engines/${name}" environment="/opt/engine-environments/${name}"
    if [ ! -f "${folder}/engine.toml" ]; then
        echo "ENGINES has ${name}, but there is no engines/${name}/engine.toml." >&2
        exit 1
    fi
    if ! grep -q '^python = "3\.\(9\|12\)"' "${folder}/engine.toml"; then
        echo "engines/${name}/engine.toml must say python = \"3.12\" or \"3.9\"." >&2
        exit 1
    fi
    grep -q "^python = \"$1\"" "${folder}/engine.toml" || continue
    # By its version, because `python` is another Python in the image.
    "python$1" -m venv --without-pip "${environment}"
    pip --python "${environment}/bin/python" install --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary :all: -r "${folder}/requirements.lock"
    if [ -f "${folder}/build.sh" ]; then
        "python$1" -m venv --without-pip "/build/${name}"
        pip --python "/build/${name}/bin/python" install --no-cache-dir --disable-pip-version-check \
            --require-hashes --only-binary :all: -r "${folder}/build.lock"
        sh "${folder}/build.sh" "/build/${name}/bin/python" "${environment}"
        rm -r "/build/${name}"
    fi
done
