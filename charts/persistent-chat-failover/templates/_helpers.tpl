{{- define "pcf.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "pcf.fullname" -}}
{{- $name := include "pcf.name" . -}}
{{- $made := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $made .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* What belongs to the whole cluster is named after the release's namespace as well: there may be a release in another one. */}}
{{- define "pcf.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "pcf.fullname" .) -}}
{{- end -}}

{{- define "pcf.serviceAccountName" -}}
{{- default (include "pcf.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "pcf.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pcf.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "pcf.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "pcf.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: persistent-chat-failover
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pcf.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* alias=path,…: as the operator takes PCF_VOLUMES. */}}
{{- define "pcf.volumes" -}}
{{- $entries := list -}}
{{- range .Values.folders -}}
{{- $entries = append $entries (printf "%s=/folders/%s" .name .name) -}}
{{- end -}}
{{- join "," $entries -}}
{{- end -}}

{{- define "pcf.connectTo" -}}
{{- $entries := list -}}
{{- range .Values.operator.connectTo -}}
{{- $entries = append $entries (printf "%s=%s" .from .to) -}}
{{- end -}}
{{- join "," $entries -}}
{{- end -}}

{{/* What a schema cannot say, or not so that a person understands it. */}}
{{- define "pcf.validate" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection.enabled) -}}
{{- fail (printf "replicas is %d and leaderElection.enabled is false: all of them would look and write. Leave leader election on, or set replicas to 1" (int .Values.replicas)) -}}
{{- end -}}
{{- $seen := dict -}}
{{- range .Values.folders -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "folders: there are two of the name %q. Each alias means one folder" .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- if has ".." (splitList "/" (default "" .subPath)) -}}
{{- fail (printf "folders: the subPath %q of %s leads out of its volume. Leave out .." .subPath .name) -}}
{{- end -}}
{{- end -}}
{{- $own := list "PCF_NAMESPACE" "PCF_VOLUMES" "PCF_SILENCE" "PCF_POLL" "PCF_CONNECT_TO" "PCF_LEADER_ELECT" "PCF_LEASE_DURATION" "PCF_METRICS_ADDRESS" "POD_NAME" "POD_NAMESPACE" "RUST_LOG" -}}
{{- range .Values.extraEnv -}}
{{- if has .name $own -}}
{{- fail (printf "extraEnv: %s is set by the chart. Use the value that it is made from (rbac.scope, folders, operator, leaderElection, metrics)" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pcf.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "pcf.podSecurity" -}}
runAsNonRoot: true
{{- range $key, $value := .Values.podSecurityContext }}
{{ $key }}: {{ int64 $value }}
{{- end }}
# Going through every file of a share to change its group could take hours.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}
