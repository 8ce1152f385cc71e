#!/usr/bin/env bash
# Checks template.yaml without an account, credentials or a network beyond pip's:
#
#     scripts/check-template.sh [TEMPLATE]
#
# `sam validate --lint` looks at the file as it is and misses what stands behind the transform: a runtime that does not
# exist, an attribute that a resource does not have. So the template is translated first, as CloudFormation would, for two
# ways to deploy it, and cfn-lint reads the result. Then `sam build` packs the functions, all of it but the compiler. The
# tools come by pip, pinned, to target/ci.
set -euo pipefail
cd "$(dirname "$0")/.."

template=${1:-template.yaml}
sam_version=1.170.0
lint_version=1.58.0
tools=$PWD/target/ci/sam-$sam_version-cfn-lint-$lint_version
if [ ! -f "$tools/complete" ]; then
    rm -rf "$tools"
    python3 -m pip install --quiet --disable-pip-version-check --target "$tools" \
        "aws-sam-cli==$sam_version" "cfn-lint==$lint_version"
    touch "$tools/complete"
fi
export PYTHONPATH=$tools PATH=$tools/bin:$PATH
export SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-central-1

sam validate --lint --template-file "$template"

python3 - "$template" "$PWD/target/ci" <<'PYTHON'
import json
import subprocess
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

path, folder = sys.argv[1:]


class NoManagedPolicies:
    """Each function has a role of its own, so none of these is asked for."""

    def load(self):
        return {}


def translated(parameters):
    with open(path) as file:
        template = yaml_parse(file.read())
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    return transform(template, parameters, NoManagedPolicies())


always = {"JwtIssuer": "https://issuer.example.org/", "JwtAudience": "foldlog"}
ways = {
    "url": {"DatabaseUrl": "postgres://user:password@db.example.org/foldlog"},
    "proxy": {
        "DbIamAuth": "true",
        "DbResourceId": "prx-1",
        "MigrateDbResourceId": "db-1",
        "DbHost": "proxy.example.org",
        "MigrateDbHost": "db.example.org",
        "DbName": "foldlog",
        "DbPooler": "transaction",
        "AfterAppend": "invoke",
        "SubnetIds": "subnet-1,subnet-2",
        "SecurityGroupIds": "sg-1",
        "CorsOrigins": "https://app.example.org,https://other.example.org",
        "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:alarms",
    },
}
failed = False
for name, parameters in ways.items():
    result = translated({**always, **parameters})
    out = f"{folder}/template-{name}.json"
    with open(out, "w") as file:
        json.dump(result, file, indent=1)
    failed |= subprocess.run(["cfn-lint", "--template", out], check=False).returncode != 0
    # What the gateway is given is a document of its own, into which no linter looks.
    body = result["Resources"]["Api"]["Properties"]["Body"]
    cors = body["x-amazon-apigateway-cors"]["Fn::If"][1]
    wanted = {"allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge"}
    if set(cors) != wanted:
        print(f"CORS at the gateway has {sorted(cors)}")
        failed = True
    for route, methods in body["paths"].items():
        for method, operation in methods.items():
            open_to_all = route in ("/health", "/openapi.json")
            wanted = [{"NONE": []}] if open_to_all else [{"Jwt": []}]
            if operation.get("security") != wanted:
                print(f"{method} {route} asks for {operation.get('security')}")
                failed = True
sys.exit(1 if failed else 0)
PYTHON

# Cross-compiling takes minutes and a toolchain; a stand-in for cargo writes what it would.
stand_in=$PWD/target/ci/stand-in
rm -rf "$stand_in"
mkdir -p "$stand_in"
cat >"$stand_in/cargo" <<'CARGO'
#!/bin/sh
while [ $# -gt 1 ]; do
    case $1 in
    --bin) bin=$2 ;;
    --lambda-dir) folder=$2 ;;
    esac
    shift
done
[ -f "bin/$bin.rs" ] || exit 1
mkdir -p "$folder/$bin"
echo "$bin" >"$folder/$bin/bootstrap"
CARGO
chmod +x "$stand_in/cargo"
echo "no certificates" >"$stand_in/global-bundle.pem"
PATH=$stand_in:$PATH LAMBDA_DIR=$stand_in/lambda RDS_BUNDLE=$stand_in/global-bundle.pem \
    sam build --template-file "$template" --build-dir "$stand_in/build" >"$stand_in/log" 2>&1 ||
    { cat "$stand_in/log" && exit 1; }
for function in "$stand_in"/build/*Function; do
    printf '%s: ' "$(basename "$function")"
    cat "$function/bootstrap"
    [ -f "$function/global-bundle.pem" ]
done
