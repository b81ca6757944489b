#!/usr/bin/env bash
# The Helm chart: checks it, or prints parts of it.
#   chart.sh check             everything that must hold of the chart; no cluster is needed
#   chart.sh server            what only an API server can tell: that of KUBECONFIG, whose user may do everything
#   chart.sh rules [OPTIONS]   the alerts as a file of rules; options as `helm template` takes them
#   chart.sh notes [OPTIONS]   the last words of an install
set -euo pipefail
# What fails within $(…) fails.
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
chart=charts/persistent-chat-failover
crd=crds/persistentchatfailovers.persistentchat.dev.yaml
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

helm="$(scripts/helm.sh)"
template() { # options…
    "$helm" template pcf "$chart" --namespace chat "$@"
}

# The alerts as a file of rules: the spec of the PrometheusRule.
rules() { # options…
    template --set prometheusRule.enabled=true --show-only templates/prometheusrule.yaml "$@" | sed '1,/^spec:/d; s/^  //'
}

passed=0
failed=0
# Runs a command as a check of a name. What it prints is shown only if it fails.
check() { # name command…
    local name="$1" result
    shift
    # Not as a condition: there a command that fails in the middle would not end it.
    set +e
    (
        set -e
        "$@"
    ) >"$work/output" 2>&1
    result=$?
    set -e
    if [ "$result" = 0 ]; then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        sed 's/^/        /' "$work/output"
    fi
}

identical_crd() {
    cmp "$crd" "$chart/files/crd.yaml" || {
        echo "The definition in the chart is not the generated one: cp $crd $chart/files/crd.yaml"
        return 1
    }
}

# What is rendered is the generated text, and nothing but the annotation is added.
rendered_crd() {
    local added='/^  annotations:$/{N;/\n    helm.sh\/resource-policy: keep$/d}'
    template --show-only templates/crd.yaml >"$work/kept.yaml"
    grep -qx '    helm.sh/resource-policy: keep' "$work/kept.yaml"
    diff <(sed '1,2d' "$work/kept.yaml" | sed "$added" | sed '$!b;/^$/d') "$crd"
    template --show-only templates/crd.yaml --set crds.keep=false >"$work/free.yaml"
    diff <(sed '1,2d' "$work/free.yaml" | sed '$!b;/^$/d') "$crd"
}

# The kinds that values render, in one line.
renders() { # wanted options…
    local wanted="$1" got
    shift
    template "$@" >"$work/rendered.yaml"
    got="$(sed -n 's/^kind: //p' "$work/rendered.yaml" | LC_ALL=C sort | uniq -c | awk '{ printf "%s%s %d", (NR > 1 ? ", " : ""), $2, $1 }')"
    [ "$got" = "$wanted" ] || {
        printf 'wanted: %s\ngot:    %s\n' "$wanted" "$got"
        return 1
    }
}

# Whether a text stands in what values render.
says() { # text options…
    local text="$1"
    shift
    template "$@" >"$work/rendered.yaml"
    grep -qF -- "$text" "$work/rendered.yaml" || {
        echo "what is rendered does not say: $text"
        return 1
    }
}

# A file of values that is refused; its first line says with which words.
refuses() { # file
    local wanted
    wanted="$(sed -n '1s/^# //p' "$1")"
    [ -n "$wanted" ] || { echo "$1: its first line says no words"; return 1; }
    if template -f "$1" >/dev/null 2>"$work/refusal"; then
        echo "it was not refused; wanted: $wanted"
        return 1
    fi
    grep -qF -- "$wanted" "$work/refusal" || {
        echo "wanted: $wanted"
        cat "$work/refusal"
        return 1
    }
}

# The roles hold the rules of files/, and nothing else.
exact_rules() { # scope kind how-many
    template --show-only templates/rbac.yaml --set "rbac.scope=$1" >"$work/rbac.yaml"
    local rules
    for rules in rules leader-election-rules; do
        # Every line of the file, one after the other, behind `rules:`.
        python3 - "$work/rbac.yaml" "$chart/files/$rules.yaml" <<'PYTHON'
import sys
rendered, rules = (open(path).read() for path in sys.argv[1:])
if "\nrules:\n" + rules.strip() + "\n---\n" not in rendered:
    sys.exit(f"no role holds exactly what {sys.argv[2]} says")
PYTHON
    done
    [ "$(grep -c '^rules:' "$work/rbac.yaml")" = 2 ] || { echo "there are other roles than two"; return 1; }
    [ "$(grep -c "^kind: $2\$" "$work/rbac.yaml")" = "$3" ] || { echo "wanted $3 of the kind $2"; return 1; }
}

# Every object of the schema is closed, but for those that are handed on as they are, and those are named so.
closed_schema() {
    python3 - "$chart/values.schema.json" <<'PYTHON'
import json, sys
bad = []
def walk(node, path):
    if isinstance(node, list):
        for i, item in enumerate(node):
            walk(item, f"{path}/{i}")
    if not isinstance(node, dict):
        return
    if node.get("type") == "object" and not path.endswith("/then"):
        rest = node.get("additionalProperties")
        if "$comment" not in node and rest is not False and not (isinstance(rest, dict) and rest):
            bad.append(f"{path}: an open object")
    if node.get("type") == "integer" and not {"minimum", "$comment"} & node.keys():
        bad.append(f"{path}: a number without bounds")
    if node.get("type") == "array" and "maxItems" not in node:
        bad.append(f"{path}: a list without bounds")
    for key, value in node.items():
        walk(value, f"{path}/{key}")
walk(json.load(open(sys.argv[1])), "")
print("\n".join(bad))
sys.exit(bool(bad))
PYTHON
}

# Every value of values.yaml stands in the table of the chart's README, with its default's name.
documented() {
    local missing=0 value
    # Top-level values and the first level below them.
    while read -r value; do
        grep -qF "\`$value" "$chart/README.md" || { echo "README.md of the chart says nothing of: $value"; missing=1; }
    done < <(awk '
        /^[a-zA-Z]/ { top = $1; sub(":.*", "", top); print top }
        /^  [a-zA-Z]/ { sub(":.*", "", $1); print top "." $1 }' "$chart/values.yaml")
    return $missing
}

# Each alert has a runbook, and there is no runbook without an alert.
runbooks() {
    diff <(rules | sed -n 's/^ *- alert: //p' | LC_ALL=C sort) <(find docs/runbooks -name '*.md' -printf '%f\n' | sed 's/\.md$//' | grep -vx README | LC_ALL=C sort)
}

alerts() { # promtool
    rules >"$work/rules.yaml"
    cp "$chart/tests/rules_test.yaml" "$work/rules_test.yaml"
    "$1" check rules --lint=all --lint-fatal "$work/rules.yaml"
    "$1" test rules "$work/rules_test.yaml" | tee "$work/tested"
    # It ran, and the file is not empty.
    grep -q SUCCESS "$work/tested" && [ "$(grep -c '^  - name: ' "$work/rules_test.yaml")" -gt 10 ]
}

# Shortened durations are still rules.
scaled_alerts() { # promtool
    rules --set-json prometheusRule.factor=0.01 >"$work/scaled.yaml"
    "$1" check rules "$work/scaled.yaml"
    grep -qx '        for: 9s' "$work/scaled.yaml" && grep -q '> 1.2$' "$work/scaled.yaml"
}

no_alerts() {
    local options=() name
    for name in $(rules | sed -n 's/^ *- alert: //p'); do options+=(--set "prometheusRule.alerts.$name.enabled=false"); done
    rules "${options[@]}" >"$work/none.yaml"
    "$1" check rules "$work/none.yaml"
}

# The last words of an install. Without a cluster helm renders them only as a part of something else.
notes() { # text options…
    local text="$1"
    shift
    cp -r "$chart" "$work/noted"
    mv "$work/noted/templates/NOTES.txt" "$work/noted/files/notes.txt"
    printf 'notes: |\n{{ tpl (.Files.Get "files/notes.txt") . | indent 2 }}\n' >"$work/noted/templates/notes.yaml"
    "$helm" template pcf "$work/noted" --namespace chat --show-only templates/notes.yaml "$@" >"$work/notes"
    rm -r "$work/noted"
    grep -qF -- "$text" "$work/notes" || {
        echo "the notes do not say: $text"
        cat "$work/notes"
        return 1
    }
}

packaged() {
    "$helm" package "$chart" --destination "$work" >/dev/null
    tar -tzf "$work"/persistent-chat-failover-*.tgz >"$work/files"
    for file in files/crd.yaml files/rules.yaml files/leader-election-rules.yaml values.schema.json README.md templates/tests/ready.yaml; do
        grep -qx "persistent-chat-failover/$file" "$work/files" || { echo "the package lacks $file"; return 1; }
    done
    ! grep '/tests/refused\|rules_test' "$work/files"
}

check_all() {
    local tool
    tool="$(scripts/prometheus.sh promtool)"
    command -v python3 >/dev/null || { echo "chart.sh: python3 is missing" >&2; exit 1; }
    check "lint" "$helm" lint --strict "$chart" --namespace chat
    for values in "$chart"/tests/values/*.yaml; do
        check "lint with $(basename "$values")" "$helm" lint --strict "$chart" --namespace chat -f "$values"
    done
    check "renders the defaults" renders "ClusterRole 4, CustomResourceDefinition 1, Deployment 1, Pod 1, PodDisruptionBudget 1, Role 2, RoleBinding 2, Service 1, ServiceAccount 1, ValidatingAdmissionPolicy 1, ValidatingAdmissionPolicyBinding 1"
    check "renders cluster.yaml" renders "ClusterRole 5, ClusterRoleBinding 1, CustomResourceDefinition 1, Deployment 1, Pod 1, PodDisruptionBudget 1, Role 1, RoleBinding 1, Service 1, ServiceAccount 1, ValidatingAdmissionPolicy 1, ValidatingAdmissionPolicyBinding 1" -f "$chart/tests/values/cluster.yaml"
    check "renders everything.yaml" renders "ClusterRole 4, CustomResourceDefinition 1, Deployment 1, NetworkPolicy 1, Pod 1, PodDisruptionBudget 1, PrometheusRule 1, Role 2, RoleBinding 2, Service 1, ServiceAccount 1, ServiceMonitor 1, ValidatingAdmissionPolicy 1, ValidatingAdmissionPolicyBinding 1" -f "$chart/tests/values/everything.yaml"
    check "renders minimal.yaml" renders "ClusterRole 1, Deployment 1, Role 1, RoleBinding 1, Service 1" -f "$chart/tests/values/minimal.yaml"
    check "one replica has no disruption budget" renders "ClusterRole 4, CustomResourceDefinition 1, Deployment 1, Pod 1, Role 2, RoleBinding 2, Service 1, ServiceAccount 1, ValidatingAdmissionPolicy 1, ValidatingAdmissionPolicyBinding 1" --set replicas=1
    check "folders become PCF_VOLUMES" says 'value: "sea-logs=/folders/sea-logs,sea-copy=/folders/sea-copy"' -f "$chart/tests/values/everything.yaml"
    check "large numbers stay whole" says 'runAsUser: 2147483647' -f "$chart/tests/values/everything.yaml"
    check "a digest pins the image" says ':0.1.0-rc.1@sha256:0123' -f "$chart/tests/values/everything.yaml"
    check "one namespace is told to the operator" says 'name: PCF_NAMESPACE' --show-only templates/deployment.yaml
    check "the notes name what was installed" notes "kubectl rollout status deployment/pcf-persistent-chat-failover -n chat"
    check "the notes name the folders" notes "sea-logs  (read-only" -f "$chart/tests/values/everything.yaml"
    check "the notes say what is left out" notes "the definition of the resource is not part of this release" -f "$chart/tests/values/minimal.yaml"
    check "the notes say who may read Secrets" notes "may read the Secrets of all" -f "$chart/tests/values/cluster.yaml"
    check "the exact rules, in a namespace" exact_rules Namespace Role 2
    check "the exact rules, in the cluster" exact_rules Cluster ClusterRole 1
    check "the schema is closed" closed_schema
    for values in "$chart"/tests/refused/*.yaml; do
        check "refuses $(basename "$values" .yaml)" refuses "$values"
    done
    check "the definition is the generated one" identical_crd
    check "the definition is rendered as it is" rendered_crd
    check "the README names every value" documented
    check "the package is complete" packaged
    check "each alert has its runbook" runbooks
    check "the alerts, in every situation" alerts "$tool"
    check "the alerts with shortened durations" scaled_alerts "$tool"
    check "no alerts at all" no_alerts "$tool"
    echo "chart: $passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

# Whether an API server takes the chart, and who may do what with it. No pod needs to run. It installs into namespaces of its own, and
# takes the release away again.
check_server() {
    local id="chart-$$" kubectl="${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS/}kubectl"
    [ -n "${KUBECONFIG:-}" ] || { echo "chart.sh: KUBECONFIG is not set" >&2; exit 2; }
    command -v "$kubectl" >/dev/null || { echo "chart.sh: kubectl is missing: set KUBEBUILDER_ASSETS to its folder" >&2; exit 2; }
    # At the end the definition is deleted, and every resource with it.
    if "$kubectl" get crd persistentchatfailovers.persistentchat.dev >/dev/null 2>&1; then
        echo "chart.sh: the resource is defined on this API server already: take one that nobody uses" >&2
        exit 2
    fi
    local here="$id" there="$id-other"
    "$kubectl" create namespace "$here" >/dev/null
    "$kubectl" create namespace "$there" >/dev/null
    "$kubectl" label namespace "$here" pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted >/dev/null
    install() { "$helm" upgrade --install pcf "$chart" --namespace "$here" --set fullnameOverride=pcf,crds.keep=false "$@"; }
    silent() { # command…: warnings are failures
        "$@" 2>&1 | tee "$work/said"
        ! grep -i warning "$work/said"
    }
    check "installs" silent install
    "$kubectl" wait --for=condition=Established crd/persistentchatfailovers.persistentchat.dev --timeout=60s >/dev/null
    local role
    for namespace in "$here" "$there"; do
        for role in view edit; do
            "$kubectl" create rolebinding "editors-$role" -n "$namespace" --clusterrole="$here-pcf-$role" --user=editor --user=approver >/dev/null
        done
    done
    "$kubectl" create rolebinding approvers -n "$here" --clusterrole="$here-pcf-approver" --user=approver >/dev/null

    pool() { # name namespace: the smallest resource
        sed -n '/^apiVersion: persistentchat.dev/,$p' examples/minimal.yaml | sed "s/^  name: minimal/  name: $1\n  namespace: $2/"
    }
    agree() { # who name namespace by
        "$kubectl" patch pcf "$2" -n "$3" --as="$1" --type=merge -p "{\"spec\":{\"consent\":{\"transition\":\"a1\",\"situation\":\"b2\",\"by\":\"$4\"}}}"
    }
    edit() { # who name namespace patch
        "$kubectl" patch pcf "$2" -n "$3" --as="$1" --type=merge -p "$4"
    }
    denied() { # command…
        if "$@" >"$work/denied" 2>&1; then
            echo "it was allowed"
            return 1
        fi
        grep -q 'spec.consent: editor may not consent' "$work/denied" || { cat "$work/denied"; return 1; }
    }
    create() { pool "$2" "$3" | "$kubectl" create --as="$1" -f -; }
    create_agreed() {
        { pool "$2" "$3"; printf '  consent: { transition: a1, situation: b2, by: %s }\n' "$1"; } | "$kubectl" create --as="$1" -f -
    }
    apply_agreed() {
        { pool "$2" "$3"; printf '  consent: { transition: a1, situation: b2, by: %s }\n' "$1"; } |
            "$kubectl" apply --server-side --field-manager=pcf-approve --as="$1" -f -
    }
    # A policy is taken up a moment after it was made.
    wait_for_policy() {
        local tries=0
        create editor probe "$here"
        until denied agree editor probe "$here" editor; do
            tries=$((tries + 1))
            [ "$tries" -lt 60 ] || return 1
            sleep 1
        done
    }
    check "the policy is taken up" wait_for_policy
    check "whoever may edit may create" create editor one "$here"
    check "and may not consent" denied agree editor one "$here" editor
    check "whoever may approve may" agree approver one "$here" approver
    check "beside a consent that stands everything may be edited" edit editor one "$here" '{"spec":{"suspend":true}}'
    check "but the consent may not be changed" denied agree editor one "$here" somebody
    check "it may be removed" edit editor one "$here" '{"spec":{"consent":null}}'
    check "it may not be there from the beginning" denied create_agreed editor two "$here"
    check "but for whoever may approve" create_agreed approver two "$here"
    check "server-side apply is held to it as well" denied apply_agreed editor three "$here"
    check "another namespace is not this release's" create_agreed editor four "$there"

    can() { # yes|no verb what options…
        local wanted="$1" got
        shift
        got="$("$kubectl" auth can-i "$@" -n "$here" --as="system:serviceaccount:$here:pcf" 2>/dev/null || true)"
        [ "$got" = "$wanted" ] || { echo "can-i $*: $got"; return 1; }
    }
    check "the operator may watch" can yes watch pcf
    check "the operator may write the status" can yes patch pcf --subresource=status
    check "the operator may not write the resource" can no patch pcf
    check "the operator may not approve" can no approve pcf
    check "the operator may read a Secret" can yes get secrets
    check "the operator may not list Secrets" can no list secrets
    check "the operator may renew its Lease" can yes update leases.coordination.k8s.io/persistent-chat-failover
    check "the operator may not take another Lease" can no update leases.coordination.k8s.io/another

    check "everything that can be switched on is taken" silent install --set crds.keep=false -f "$chart/tests/values/everything.yaml" \
        --set serviceMonitor.enabled=false,prometheusRule.enabled=false,priorityClassName=
    check "an upgrade to the cluster's scope" silent install -f "$chart/tests/values/cluster.yaml"
    check "uninstalls" "$helm" uninstall pcf --namespace "$here"
    "$kubectl" delete namespace "$here" "$there" --wait=false >/dev/null
    echo "chart on the API server: $passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

case "${1:-}" in
server) check_server ;;
notes)
    shift
    notes "" "$@"
    cat "$work/notes"
    ;;
check) check_all ;;
rules)
    shift
    rules "$@"
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
