{{- define "commitgate.name" -}}commitgate{{- end }}

{{- define "commitgate.labels" -}}
app.kubernetes.io/name: commitgate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "commitgate.selector" -}}
app.kubernetes.io/name: commitgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "commitgate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "commitgate.serviceAccount" -}}system:serviceaccount:{{ .Release.Namespace }}:commitgate{{- end }}

{{- /* Whether the own authority is replaced in time: unless somebody says otherwise, or static manifests stand for the webhook. */ -}}
{{- define "commitgate.rotates" -}}
{{- $enabled := .Values.certificates.rotation.enabled -}}
{{- and (eq .Values.certificates.source "own") .Values.webhook.register (or $enabled (kindIs "invalid" $enabled)) -}}
{{- end }}

{{- define "commitgate.agents" -}}
{{- $agents := list -}}
{{- with .Values.presets.flux }}{{ if .enabled }}
{{- $agents = append $agents (dict "name" "flux" "preset" "Flux" "users" (list (printf "system:serviceaccount:%s:kustomize-controller" .namespace) (printf "system:serviceaccount:%s:helm-controller" .namespace) (printf "system:serviceaccount:%s:source-controller" .namespace) (printf "system:serviceaccount:%s:notification-controller" .namespace))) -}}
{{- end }}{{ end -}}
{{- with .Values.presets.argocd }}{{ if .enabled }}
{{- $agents = append $agents (dict "name" "argocd" "preset" "ArgoCD" "users" (list (printf "system:serviceaccount:%s:argocd-application-controller" .namespace) (printf "system:serviceaccount:%s:argocd-applicationset-controller" .namespace))) -}}
{{- end }}{{ end -}}
{{- with .Values.presets.fleet }}{{ if .enabled }}
{{- $agents = append $agents (dict "name" "fleet" "preset" "Fleet" "users" (list (printf "system:serviceaccount:%s:fleet-agent" .namespace))) -}}
{{- end }}{{ end -}}
{{- with .Values.presets.configSync }}{{ if .enabled }}
{{- $agents = append $agents (dict "name" "config-sync" "preset" "ConfigSync" "users" (list (printf "system:serviceaccount:%s:root-reconciler" .namespace))) -}}
{{- end }}{{ end -}}
{{- toYaml (concat $agents .Values.agents) -}}
{{- end }}

{{- /* Secrets that are mounted as they are, by the name of their volume. */ -}}
{{- define "commitgate.secrets" -}}
{{- $secrets := dict -}}
{{- with .Values.webhook.clientCASecret }}{{ $secrets = set $secrets "client-ca" . }}{{ end -}}
{{- with .Values.audit.streamTokenSecret }}{{ $secrets = set $secrets "stream" . }}{{ end -}}
{{- with .Values.audit.digestKeySecret }}{{ $secrets = set $secrets "digest" . }}{{ end -}}
{{- with .Values.verifiedKeySecret }}{{ $secrets = set $secrets "verified" . }}{{ end -}}
{{- with .Values.decryptionSecret }}{{ $secrets = set $secrets "decryption" . }}{{ end -}}
{{- range .Values.repositories }}{{ if .credentialsSecret }}{{ $secrets = set $secrets (printf "git-%s" .name) .credentialsSecret }}{{ end }}{{ end -}}
{{- toYaml $secrets -}}
{{- end }}

{{- /* The user's, and that the Secret of the webhook's certificate may be renewed. */ -}}
{{- define "commitgate.exemptions" -}}
{{- $exemptions := .Values.gate.exemptions -}}
{{- if eq .Values.certificates.source "certManager" -}}
{{- $exemptions = append $exemptions (dict "name" "certificate-of-the-gate" "reason" "cert-manager renews the certificate of the gate's own webhook" "users" (list .Values.certificates.certManager.user) "namespaces" (list .Release.Namespace) "kinds" (list "Secret" "Certificate.cert-manager.io" "CertificateRequest.cert-manager.io" "Issuer.cert-manager.io") "subresources" (list "*")) -}}
{{- end -}}
{{- toYaml $exemptions -}}
{{- end }}

{{- /* Values that contradict each other are refused at install, with the reason. */ -}}
{{- define "commitgate.check" -}}
{{- if not .Values.repositories }}{{ fail "repositories: at least one trusted repository is required; see docs/configuration.md" }}{{ end -}}
{{- if not .Values.gate.roots }}{{ fail "gate.roots: where in Git is this cluster declared? See docs/configuration.md" }}{{ end -}}
{{- if eq (include "commitgate.agents" . | fromYamlArray | len) 0 }}{{ fail "no agent: enable one of presets, or list one under agents" }}{{ end -}}
{{- if and (eq .Values.gate.mode "Enforce") (eq .Values.webhook.failurePolicy "Ignore") }}{{ fail "gate.mode Enforce with webhook.failurePolicy Ignore enforces nothing while the gate is down: choose Fail, or mode Warn" }}{{ end -}}
{{- if and .Values.gate.dryRuns (not .Values.dryRunRules) }}{{ fail "gate.dryRuns without dryRunRules: the gate may not ask the API server about any resource" }}{{ end -}}
{{- if and .Values.gate.breakGlass (not .Values.gate.cluster) }}{{ fail "gate.breakGlass needs gate.cluster: a grant is bound to it" }}{{ end -}}
{{- if and .Values.backstop.enabled (not (include "commitgate.enforced" .)) }}{{ fail "backstop.enabled where the gate enforces nothing: set gate.mode Enforce with scope Everything, for the whole cluster or in gate.overrides for some namespaces" }}{{ end -}}
{{- range $name, $keys := .Values.audit.peers }}{{ if ge (trimPrefix "commitgate-" $name | int) (int $.Values.replicas) }}{{ fail (printf "audit.peers: %s is no replica: replicas is %d" $name (int $.Values.replicas)) }}{{ end }}{{ end -}}
{{- if eq (len .Values.audit.peers) 1 }}{{ fail "audit.peers: who should cosign with one replica? Name each of them" }}{{ end -}}
{{- if and (ne .Values.registration.repair "none") (not .Values.registration.watch) }}{{ fail "registration.repair without registration.watch: nobody notices what should be put back" }}{{ end -}}
{{- if and .Values.certificates.rotation.enabled (ne .Values.certificates.source "own") }}{{ fail "certificates.rotation replaces the own authority (certificates.source own): cert-manager renews its certificates itself" }}{{ end -}}
{{- if eq .Values.certificates.source "certManager" -}}
{{- $cm := .Values.certificates.certManager -}}
{{- if and .Values.selfProtection.enabled (not $cm.caBundle) }}{{ fail "certificates.certManager.caBundle: required with selfProtection, because cert-manager's injector may not change a guarded webhook configuration" }}{{ end -}}
{{- if and (ne .Values.registration.repair "none") (not $cm.caBundle) }}{{ fail "registration.repair needs certificates.certManager.caBundle: by which authority should the API server know the gate?" }}{{ end -}}
{{- if and $cm.caBundle (not $cm.issuerRef) }}{{ fail "certificates.certManager.caBundle needs issuerRef: whose authority is it?" }}{{ end -}}
{{- end -}}
{{- end }}
