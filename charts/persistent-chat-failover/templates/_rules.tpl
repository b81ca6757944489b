{{/* A duration of the alerts, in seconds, as PromQL and `for` take it. Takes (list root seconds). */}}
{{- define "pcf.duration" -}}
{{- $ms := int64 (mulf (index . 1) 1000.0 (index . 0).Values.prometheusRule.factor) -}}
{{- if eq (mod $ms 60000) 0 -}}{{ div $ms 60000 }}m
{{- else if eq (mod $ms 1000) 0 -}}{{ div $ms 1000 }}s
{{- else -}}{{ $ms }}ms{{- end -}}
{{- end -}}

{{/* The same as a number of seconds, to compare with. */}}
{{- define "pcf.seconds" -}}
{{- mulf (index . 1) (index . 0).Values.prometheusRule.factor -}}
{{- end -}}

{{/* A series of the operator, without the pod that told it: an alert outlives a change of the leader. Takes a dict of root, metric,
     and, where there are any, matchers (a string) and by (further labels). */}}
{{- define "pcf.series" -}}
{{- $matchers := tpl .root.Values.prometheusRule.matchers .root -}}
{{- $all := compact (list $matchers (default "" .matchers)) | join "," -}}
max by (resource_namespace, resource{{ with .by }}, {{ . }}{{ end }}) (persistentchat_{{ .metric }}{{ with $all }}{{ printf "{%s}" . }}{{ end }})
{{- end -}}

{{- define "pcf.condition" -}}
{{- include "pcf.series" (dict "root" (index . 0) "metric" "condition" "matchers" (printf "type=%q,status=%q" (index . 1) (index . 2))) -}}
{{- end -}}

{{/* One alert. Takes a dict of root, name, expr, summary, description. */}}
{{- define "pcf.alert" -}}
{{- $values := .root.Values.prometheusRule -}}
{{- $alert := index $values.alerts .name -}}
{{- if $alert.enabled -}}
- alert: {{ .name }}
  expr: |-
    {{- .expr | trim | nindent 4 }}
  {{- if $alert.forSeconds }}
  for: {{ include "pcf.duration" (list .root $alert.forSeconds) }}
  {{- end }}
  labels:
    severity: {{ $alert.severity }}
    {{- with $values.alertLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    summary: {{ .summary | quote }}
    description: {{ .description | quote }}
    runbook_url: {{ $values.runbookUrl }}/{{ .name }}.md
{{- end -}}
{{- end -}}

{{/* All alerts. A standby has no series of resources, so nothing of it is taken for the state of a pool. */}}
{{- define "pcf.rules" -}}
{{- $root := . -}}
{{- $alerts := .Values.prometheusRule.alerts -}}
{{- $matchers := tpl .Values.prometheusRule.matchers . -}}
{{- $braces := ternary "" (printf "{%s}" $matchers) (empty $matchers) -}}
{{- $it := "{{ $labels.resource_namespace }}/{{ $labels.resource }}" -}}
{{- $running := include "pcf.series" (dict "root" . "metric" "transition_running") -}}
{{- $runningBy := include "pcf.series" (dict "root" . "metric" "transition_running" "by" "procedure") -}}
{{- $startedBy := include "pcf.series" (dict "root" . "metric" "transition_started_timestamp_seconds" "by" "procedure") -}}
{{- $look := include "pcf.series" (dict "root" . "metric" "last_look_timestamp_seconds") -}}
{{- $lag := include "pcf.series" (dict "root" . "metric" "backup_lag_seconds") -}}
{{- $loss := include "pcf.series" (dict "root" . "metric" "expected_loss_seconds") -}}
{{- $stalled := include "pcf.condition" (list . "Stalled" "True") -}}
{{- $rendered := list
  (include "pcf.alert" (dict "root" . "name" "OperatorDown"
    "expr" (printf "absent(persistentchat_build_info%s)" $braces)
    "summary" "No operator for Persistent Chat failover answers"
    "description" "No pod of the operator was scraped. Nobody would carry out a failover, and nobody sees whether one would work."))
  (include "pcf.alert" (dict "root" . "name" "NobodyLeads"
    "expr" (printf "max by (namespace) (persistentchat_leader%s) == 0" $braces)
    "summary" "No operator for Persistent Chat failover leads"
    "description" "Pods of the operator run, but none of them has the Lease. Nothing begins until one has."))
  (include "pcf.alert" (dict "root" . "name" "NotLooking"
    "expr" (printf `# While nothing happens.
(
  time() - %s > %s
  unless on (resource_namespace, resource) %s == 1
  unless on (resource_namespace, resource) %s == 1
)
# While a human is waited for.
or (
  time() - %s > %s
  unless on (resource_namespace, resource) %s == 1
)
# While one statement of a transition may take long.
or time() - %s > %s`
      $look (include "pcf.seconds" (list . $alerts.NotLooking.afterSeconds)) $stalled $running
      $look (include "pcf.seconds" (list . $alerts.NotLooking.stalledAfterSeconds)) $running
      $look (include "pcf.seconds" (list . $alerts.NotLooking.runningAfterSeconds)))
    "summary" (printf "%s has not been looked at for long" $it)
    "description" (printf "The operator's last look at the servers of %s was {{ $value | humanizeDuration }} ago. Whatever else is told of it is that old." $it)))
  (include "pcf.alert" (dict "root" . "name" "HumanNeeded"
    "expr" (printf "%s == 1" $stalled)
    "summary" (printf "%s needs a human" $it)
    "description" (printf "%s is Stalled: the operator goes on only when somebody decides or mends something. Its message says what." $it)))
  (include "pcf.alert" (dict "root" . "name" "NotReady"
    "expr" (printf "%s == 0\nunless on (resource_namespace, resource) %s == 1" (include "pcf.condition" (list . "Ready" "True")) $running)
    "summary" (printf "%s is not ready, and no transition runs" $it)
    "description" (printf "Chat of %s does not serve as the resource says, and nothing is at work that would change it." $it)))
  (include "pcf.alert" (dict "root" . "name" "ChatStandsStill"
    "expr" (printf "%s == 0\nand on (resource_namespace, resource) %s == 1" (include "pcf.condition" (list . "Ready" "True")) $running)
    "summary" (printf "%s is not ready, and a transition has not changed that for long" $it)
    "description" (printf "Chat of %s does not serve as the resource says. A transition is at work, and takes longer than a failover or a switch does." $it)))
  (include "pcf.alert" (dict "root" . "name" "OldSideAnswers"
    "expr" (printf "%s == 1" (include "pcf.condition" (list . "OtherSideQuiet" "False")))
    "summary" (printf "The data centre that is not active shows a live database of %s" $it)
    "description" (printf "A server of the data centre of %s that is not active shows a live database. Take it offline before anything writes to it." $it)))
  (include "pcf.alert" (dict "root" . "name" "FailoverWouldNotWork"
    "expr" (printf "%s == 1" (include "pcf.condition" (list . "FailoverReady" "False")))
    "summary" (printf "A failover of %s would not work now" $it)
    "description" (printf "The last looks at %s found what would stop a failover to the other data centre. Mend it while nothing is lost." $it)))
  (include "pcf.alert" (dict "root" . "name" "BackupsStopped"
    "expr" (printf "%s == 1" (include "pcf.condition" (list . "BackedUp" "False")))
    "summary" (printf "The live database of %s is not backed up" $it)
    "description" (printf "The server of the live database of %s has taken no full and no log backup of its own since the last failover. The log fills the disk." $it)))
  (include "pcf.alert" (dict "root" . "name" "LossGrowing"
    "expr" (printf "%s > %s\nor %s > %s" $loss (include "pcf.seconds" (list . $alerts.LossGrowing.afterSeconds)) $lag (include "pcf.seconds" (list . $alerts.LossGrowing.afterSeconds)))
    "summary" (printf "Too much of %s would be lost" $it)
    "description" (printf "If the active data centre of %s were lost now, {{ $value | humanizeDuration }} of chat would be lost with it." $it)))
  (include "pcf.alert" (dict "root" . "name" "TransitionRunning"
    "expr" (printf "%s == 1" $runningBy)
    "summary" (printf "{{ $labels.procedure }} of %s is at work" $it)
    "description" (printf "The operator carries out the procedure {{ $labels.procedure }} for %s. Watch it with: kubectl pcf status {{ $labels.resource }} -n {{ $labels.resource_namespace }} --watch" $it)))
  (include "pcf.alert" (dict "root" . "name" "TransitionSlow"
    "expr" (printf "time() - %s > %s\nand on (resource_namespace, resource, procedure) %s == 1" $startedBy (include "pcf.seconds" (list . $alerts.TransitionSlow.afterSeconds)) $runningBy)
    "summary" (printf "{{ $labels.procedure }} of %s takes long" $it)
    "description" (printf "The procedure {{ $labels.procedure }} for %s has been at work for {{ $value | humanizeDuration }}." $it))) -}}
groups:
  - name: persistent-chat-failover
    rules:
      {{- range compact $rendered }}
      {{- . | nindent 6 }}
      {{- else }}
      []
      {{- end }}
{{- end -}}
