#!/usr/bin/env bash
# Writes the examples' renderings anew, by the real helm; `git diff` then shows what a change of the chart does.
set -euo pipefail
cd "$(dirname "$0")/examples"
for values in *.values.yaml; do
    helm template memberstream ../memberstream --kube-version 1.34 --values "$values" >"${values%.values.yaml}.yaml"
done
