#!/usr/bin/env bash
# Checks template.yaml without an AWS account; it needs the network only for pip:
#
#     scripts/check-template.sh [TEMPLATE]
#
# `sam validate --lint` reads the template before the SAM transform and so misses errors in its result: a runtime that does not
# exist, an attribute that a resource does not have. This script therefore transforms the template as CloudFormation does, for
# two ways to deploy it, and runs cfn-lint on the results. Then `sam build` packages the functions, with a stand-in for the
# compiler. pip installs pinned versions of the tools in target/ci.
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
    """Each function has its own role, so the transform needs none of these."""

    def load(self):
        return {}


def transformed(parameters):
    with open(path) as file:
        template = yaml_parse(file.read())
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    return transform(template, parameters, NoManagedPolicies())


common = {"JwtIssuer": "https://issuer.example.org/", "JwtAudience": "foldlog"}
deployments = {
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
        "Console": "true",
        "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:alarms",
    },
}
failed = False
for name, parameters in deployments.items():
    result = transformed({**common, **parameters})
    out = f"{folder}/template-{name}.json"
    with open(out, "w") as file:
        json.dump(result, file, indent=1)
    failed |= subprocess.run(["cfn-lint", "--template", out], check=False).returncode != 0
    # No linter checks the OpenAPI document of the gateway.
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
                print(f"{method} {route} requires {operation.get('security')}")
                failed = True
sys.exit(1 if failed else 0)
PYTHON

# Cross-compilation takes minutes and needs a toolchain; a stand-in for cargo writes the files that it would.
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
