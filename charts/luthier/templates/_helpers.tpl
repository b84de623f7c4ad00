{{/* Names. A release called luthier gets plain `luthier`, another one `<release>-luthier`. */}}
{{- define "luthier.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "luthier.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "luthier.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "luthier.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "luthier.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "luthier.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "luthier.selectorLabels" -}}
app.kubernetes.io/name: {{ include "luthier.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "luthier.labels" -}}
{{ include "luthier.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: luthier
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Image reference of `image` (a map of repository, tag, digest), whose value is called `value`. */}}
{{- define "luthier.image" -}}
{{- $repository := required (printf "%s.repository: where your cluster pulls the image from, e.g. --set %s.repository=registry.example.com/luthier (`make images` builds both images)" .value .value) .image.repository -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .version .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* luthier.yaml as the operator reads it: the values, completed and checked. */}}
{{- define "luthier.platform" -}}
{{- $platform := deepCopy .Values.luthier -}}
{{- $names := list -}}
{{- range $pool := $platform.pools -}}
{{- if has $pool.name $names -}}
{{- fail (printf "luthier.pools: %q is named twice" $pool.name) -}}
{{- end -}}
{{- $names = append $names $pool.name -}}
{{- if not $pool.image -}}
{{- $_ := set $pool "image" (include "luthier.image" (dict "image" $.Values.trainerImage "value" "trainerImage" "version" $.Chart.AppVersion)) -}}
{{- $_ := set $pool "imagePullPolicy" (default $.Values.trainerImage.pullPolicy $pool.imagePullPolicy) -}}
{{- end -}}
{{- /* Numbers become text: YAML reads `cpu: 4` as one. */ -}}
{{- range $map := list (dig "resources" "requests" dict $pool) (dig "resources" "limits" dict $pool) (default dict $pool.env) -}}
{{- range $key, $value := $map -}}
{{- $_ := set $map $key (toString $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (has $platform.defaultPool $names) -}}
{{- fail (printf "luthier.defaultPool: no pool %q; there are: %s" $platform.defaultPool (join ", " $names)) -}}
{{- end -}}
{{- range $namespace, $own := $platform.namespaces -}}
{{- if and $own.pool (not (has $own.pool $names)) -}}
{{- fail (printf "luthier.namespaces.%s.pool: no pool %q; there are: %s" $namespace $own.pool (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- /* Helm drops a value that is set to null; the operator has to see it: no Secret. */ -}}
{{- if not (hasKey $platform.storage "secretName") -}}
{{- $_ := set $platform.storage "secretName" nil -}}
{{- end -}}
{{- if not $platform.progressUrl -}}
{{- $_ := set $platform "progressUrl" (printf "http://%s.%s.svc:8090" (include "luthier.fullname" .) .Release.Namespace) -}}
{{- end -}}
{{- toYaml $platform -}}
{{- end -}}

{{/* The namespaces that are served: a JSON list of label selectors, of which any may hold. */}}
{{- define "luthier.served" -}}
{{- $selectors := list -}}
{{- with .Values.rbac.namespaces -}}
{{- $named := dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" . -}}
{{- $selectors = append $selectors (dict "matchExpressions" (list $named)) -}}
{{- end -}}
{{- with .Values.rbac.namespaceSelector -}}
{{- $expressions := include "luthier.expressions" . | fromJsonArray -}}
{{- $selectors = append $selectors (dict "matchExpressions" $expressions) -}}
{{- end -}}
{{- default (list dict) $selectors | toJson -}}
{{- end -}}

{{/* A selector as kubectl takes it (a=b, a!=b, a in (b, c), a notin (b, c), a, !a), as a JSON list of
matchExpressions. */}}
{{- define "luthier.expressions" -}}
{{- $selector := . -}}
{{- $key := "([A-Za-z0-9][-A-Za-z0-9_./]*)" -}}
{{- $one := printf "^%s\\s*(=|==|!=)\\s*([-A-Za-z0-9_.]*)$" $key -}}
{{- $several := printf "^%s\\s+(in|notin)\\s*\\(([-A-Za-z0-9_., ]*)\\)$" $key -}}
{{- $there := printf "^(!?)\\s*%s$" $key -}}
{{- $parts := regexFindAll "[^,(]+\\([^)]*\\)|[^,]+" $selector -1 -}}
{{- $found := list -}}
{{- range $parts -}}
{{- $part := trim . -}}
{{- if or (regexMatch $one $part) (regexMatch $several $part) -}}
{{- $form := ternary $one $several (regexMatch $one $part) -}}
{{- $operator := ternary "In" "NotIn" (has (regexReplaceAll $form $part "${2}") (list "=" "==" "in")) -}}
{{- $values := list -}}
{{- range splitList "," (regexReplaceAll $form $part "${3}") -}}
{{- $values = append $values (trim .) -}}
{{- end -}}
{{- $found = append $found (dict "key" (regexReplaceAll $form $part "${1}") "operator" $operator "values" $values) -}}
{{- else if regexMatch $there $part -}}
{{- $operator := ternary "DoesNotExist" "Exists" (hasPrefix "!" $part) -}}
{{- $found = append $found (dict "key" (regexReplaceAll $there $part "${2}") "operator" $operator) -}}
{{- end -}}
{{- end -}}
{{- if or (ne (join "," $parts) $selector) (ne (len $parts) (len $found)) -}}
{{- fail (printf "rbac.namespaceSelector: %q isn't a selector: write label=value, label!=value, label in (a, b), label notin (a, b), label or !label, with commas between" $selector) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The times of the Lease, checked: else two could lead at once. */}}
{{- define "luthier.election" -}}
{{- $times := .Values.leaderElection -}}
{{- if le (int $times.leaseSeconds) (int $times.renewSeconds) -}}
{{- fail (printf "leaderElection.leaseSeconds: %v must be more than renewSeconds, %v" $times.leaseSeconds $times.renewSeconds) -}}
{{- end -}}
{{- if le (mul 10 (int $times.renewSeconds)) (mul 12 (int $times.retrySeconds)) -}}
{{- fail (printf "leaderElection.renewSeconds: %v must be more than 1.2 × retrySeconds, %v" $times.renewSeconds $times.retrySeconds) -}}
{{- end -}}
- name: LUTHIER_LEASE_SECONDS
  value: {{ int $times.leaseSeconds | quote }}
- name: LUTHIER_RENEW_SECONDS
  value: {{ int $times.renewSeconds | quote }}
- name: LUTHIER_RETRY_SECONDS
  value: {{ int $times.retrySeconds | quote }}
{{- end -}}

{{/* The ConfigMaps with what runs have used: one a month of the year. */}}
{{- define "luthier.ledgers" -}}
{{- range $month := untilStep 1 13 1 }}
- {{ include "luthier.fullname" $ }}-usage-{{ printf "%02d" $month }}
{{- end -}}
{{- end -}}

{{/* What the operator may do in the namespaces that it serves: what its code calls, no more. */}}
{{- define "luthier.rules" -}}
- apiGroups: [luthier.dev]
  resources: [finetunejobs, optimizejobs, adapterbundles]
  verbs: [get, list, watch]
# For the finalizer of what has deletionPolicy: Delete. Nothing else of it is written.
- apiGroups: [luthier.dev]
  resources: [finetunejobs]
  verbs: [patch]
- apiGroups: [luthier.dev]
  resources: [finetunejobs/status, optimizejobs/status, adapterbundles/status]
  verbs: [patch]
# Where OwnerReferencesPermissionEnforcement is on, an owner that blocks its deletion takes this.
- apiGroups: [luthier.dev]
  resources: [finetunejobs/finalizers, optimizejobs/finalizers, adapterbundles/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete, get, list, patch, watch]
# Runs of several nodes. What it makes (a Job, a Service) JobSet makes by rights of its own.
- apiGroups: [jobset.x-k8s.io]
  resources: [jobsets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Run specs too long for an annotation. Read only to learn whose one of that name is; patched to go
# with their Job.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, get, patch]
# Written for people; read for what keeps a Job from making its pod.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list]
# What Kueue says of queued runs; patched where a user suspends one.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list, patch, watch]
{{- end -}}
