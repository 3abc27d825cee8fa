#!/usr/bin/env bash
# Writes the examples' renderings anew, by the real helm; `git diff` then shows what a change of the chart does. The sums
# say what they were made from: a chart that has changed since fails a test that needs no helm.
set -euo pipefail
cd "$(dirname "$0")"
for values in examples/*.values.yaml; do
    helm template memberstream memberstream --kube-version 1.34 --values "$values" >"${values%.values.yaml}.yaml"
done
find memberstream examples -name '*.sha256' -o -type f -print | LC_ALL=C sort | xargs sha256sum >examples/rendered.sha256
