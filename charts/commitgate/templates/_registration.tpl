{{- /* What stands in front of the gate. It is applied as it is, and given to the gate, which watches that it stays so. */ -}}
{{- define "commitgate.matchConditions" -}}
- name: no-leases-of-components
  expression: '!(request.resource.group == "coordination.k8s.io" && request.userInfo.username.startsWith("system:"))'
- name: no-events
  expression: '!(request.resource.resource == "events" && request.resource.group in ["", "events.k8s.io"])'
- name: no-access-reviews
  expression: '!(request.resource.group in ["authentication.k8s.io", "authorization.k8s.io"])'
# After a blackout nodes must report themselves, and get the tokens of the pods that make the network, before any gate can run.
# NodeRestriction, inside the API server, holds each node to itself and its own pods. The controllers that bring the gate's pods and endpoints
# back get their tokens from kube-controller-manager, each when it first has something to write.
- name: no-nodes-of-components
  expression: '!(request.resource.group == "" && request.resource.resource == "nodes" && (request.userInfo.username.startsWith("system:node:") || request.userInfo.username in ["system:kube-controller-manager", "system:serviceaccount:kube-system:node-controller"]))'
- name: no-tokens-of-system-pods
  expression: '!(request.resource.group == "" && request.resource.resource == "serviceaccounts" && has(request.subResource) && request.subResource == "token" && request.namespace == "kube-system" && (request.userInfo.username.startsWith("system:node:") || request.userInfo.username == "system:kube-controller-manager"))'
# The gate must be able to come up while it is down. Its own namespace is guarded by the ValidatingAdmissionPolicy beside this,
# inside the API server.
- name: not-the-gate-itself
  expression: '!(has(request.namespace) && request.namespace == "{{ .Release.Namespace }}" && request.resource.group in ["", "apps", "batch", "discovery.k8s.io"] && (request.resource.resource in ["pods", "endpoints", "endpointslices", "persistentvolumeclaims", "replicasets", "statefulsets", "controllerrevisions", "jobs"] || (request.resource.resource == "serviceaccounts" && has(request.subResource) && request.subResource == "token")))'
# Nor when its certificate authority has ended: then nobody answers before another takes its place. The same policy holds who replaces it to that.
- name: not-the-authority
  expression: '!(has(request.namespace) && request.namespace == "{{ .Release.Namespace }}" && request.resource.group == "" && request.resource.resource == "secrets" && !has(request.subResource) && request.operation == "UPDATE" && request.name == "commitgate-ca" && request.userInfo.username == "system:serviceaccount:{{ .Release.Namespace }}:commitgate-certificates")'
{{- end }}

{{- define "commitgate.webhook" -}}
# The gate in front of everything: from the moment this exists nothing changes without it.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: commitgate
  labels: {{- include "commitgate.labels" $.root | nindent 4 }}
  {{- if and (eq $.root.Values.certificates.source "certManager") (not $.root.Values.certificates.certManager.caBundle) }}
  annotations:
    cert-manager.io/inject-ca-from: {{ $.root.Release.Namespace }}/commitgate
  {{- end }}
webhooks:
- name: gate.commitgate.dev
  admissionReviewVersions: [v1]
  clientConfig:
    {{- with $.ca }}
    caBundle: {{ . }}
    {{- end }}
    service:
      name: commitgate
      namespace: {{ $.root.Release.Namespace }}
      path: /review
      port: 443
  failurePolicy: {{ $.root.Values.webhook.failurePolicy }}
  matchPolicy: Equivalent # a change through any version of an API is seen
  sideEffects: NoneOnDryRun # a record is a side effect; dry-runs are not recorded
  timeoutSeconds: {{ $.root.Values.webhook.timeoutSeconds }}
  rules:
  - apiGroups: ["*"]
    apiVersions: ["*"]
    operations: ["*"] # CONNECT too: exec, attach, port-forward, proxy
    resources: ["*/*"] # "*" alone would leave out subresources
    scope: "*"
  # What never changes anything that Git could declare, and comes by the second: it would only cost a call. Nobody is let off by name.
  matchConditions:
{{ include "commitgate.matchConditions" $.root | indent 2 }}
{{- end }}

{{- define "commitgate.policies" -}}
# What no webhook is ever asked about: webhook configurations themselves, and what the gate's own matchConditions leave out. Evaluated inside
# the API server, so it holds with every pod of the gate down. Who may change these objects all the same: members of the group
# {{ .Values.selfProtection.adminGroup }} (and, on clusters with a static admission manifest, nobody).
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: commitgate-guards-itself
  labels: {{- include "commitgate.labels" . | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - apiGroups: [admissionregistration.k8s.io]
      apiVersions: ["*"]
      operations: [UPDATE, DELETE]
      resources: [validatingwebhookconfigurations, mutatingwebhookconfigurations]
      resourceNames: [commitgate]
    - apiGroups: ["", apps, batch, rbac.authorization.k8s.io, networking.k8s.io, policy, discovery.k8s.io, coordination.k8s.io]
      apiVersions: ["*"]
      operations: [CREATE, UPDATE, DELETE, CONNECT]
      resources: ["*/*"]
      scope: Namespaced
  matchConditions:
  - name: about-the-gate
    expression: >-
      request.resource.group == "admissionregistration.k8s.io" || request.namespace == "{{ .Release.Namespace }}"
  variables:
  - name: repairs # commitgate-own-identity says how
    expression: >-
      request.userInfo.username == "{{ include "commitgate.serviceAccount" . }}" && request.operation == "UPDATE" &&
      request.resource.resource == "validatingwebhookconfigurations"
  # Its leases say which replica writes, and how often each break-glass grant was used.
  - name: leases
    expression: request.resource.group == "coordination.k8s.io" && request.userInfo.username == "{{ include "commitgate.serviceAccount" . }}"
  {{- if eq (include "commitgate.rotates" .) "true" }}
  # Whoever replaces the certificate authority changes certificate and key in the Secret, and the caBundle, and nothing else of either. By its own token:
  # an impersonated service account has no uid.
  - name: rotation
    expression: >-
      request.userInfo.username == "system:serviceaccount:{{ .Release.Namespace }}:commitgate-certificates" && request.userInfo.?uid.orValue("") != "" &&
      request.operation == "UPDATE" && request.?subResource.orValue("") == ""
  - name: keysOnly
    expression: >-
      request.resource.resource == "secrets" && request.name == "commitgate-ca" && object.data.all(k, k in ["tls.crt", "tls.key"])
  - name: bundleOnly
    expression: >-
      request.resource.resource == "validatingwebhookconfigurations" && object.webhooks.size() == oldObject.webhooks.size() &&
      object.webhooks.all(w, oldObject.webhooks.exists_one(o, o.name == w.name &&
      o.all(k, k in w) && w.all(k, k == "clientConfig" || (k in o && w[k] == o[k])) &&
      o.clientConfig.all(k, k in w.clientConfig) && w.clientConfig.all(k, k == "caBundle" || (k in o.clientConfig && w.clientConfig[k] == o.clientConfig[k]))))
  - name: restUnchanged
    expression: >-
      object.all(k, k in ["metadata", "data", "webhooks"] || (k in oldObject && object[k] == oldObject[k])) &&
      oldObject.metadata.all(k, k in object.metadata) &&
      object.metadata.all(k, k in ["resourceVersion", "generation", "managedFields"] || (k in oldObject.metadata && object.metadata[k] == oldObject.metadata[k]))
  - name: rotates
    expression: variables.rotation && (variables.keysOnly || variables.bundleOnly) && variables.restUnchanged
  {{- end }}
  - name: components
    expression: >-
      request.userInfo.username.startsWith("system:serviceaccount:kube-system:") ||
      request.userInfo.username.startsWith("system:node:") ||
      request.userInfo.username in ["system:kube-scheduler", "system:kube-controller-manager", "system:apiserver"]
  - name: administrator
    expression: '"{{ .Values.selfProtection.adminGroup }}" in request.userInfo.groups'
  {{- if eq .Values.certificates.source "certManager" }}
  - name: certificates
    expression: request.userInfo.username == "{{ .Values.certificates.certManager.user }}" && request.resource.group == "" && request.resource.resource == "secrets"
  {{- end }}
  validations:
  - expression: variables.administrator || variables.repairs || variables.leases ||{{ if eq (include "commitgate.rotates" .) "true" }} variables.rotates ||{{ end }} (request.resource.group != "admissionregistration.k8s.io" && variables.components){{ if eq .Values.certificates.source "certManager" }} || variables.certificates{{ end }}
    messageExpression: >-
      "commitgate guards itself: " + request.userInfo.username + " may not change it. Next: act as a member of {{ .Values.selfProtection.adminGroup }}, on record."
    reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: commitgate-guards-itself
  labels: {{- include "commitgate.labels" . | nindent 4 }}
spec:
  policyName: commitgate-guards-itself
  validationActions: [Deny, Audit]
---
# The gate's own identity: dry-runs, its status, its leases and its reports, and nothing else, even if the gate is down.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: commitgate-own-identity
  labels: {{- include "commitgate.labels" . | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - apiGroups: ["*"]
      apiVersions: ["*"]
      operations: ["*"]
      resources: ["*/*"]
  matchConditions:
  - name: is-the-gate
    expression: request.userInfo.username == "{{ include "commitgate.serviceAccount" . }}"
  variables:
  # Where it has the right (registration.repair), the gate puts the configuration of its webhook back. Its stolen token can do that, too, and can neither
  # ask somebody else nor leave anything out.
  - name: repairs
    expression: >-
      request.resource.resource == "validatingwebhookconfigurations" && request.operation in ["CREATE", "UPDATE"] &&
      object.metadata.name == "commitgate" && has(object.webhooks) && object.webhooks.size() == 1 && object.webhooks.all(w,
      w.name == "gate.commitgate.dev" && w.failurePolicy == "{{ .Values.webhook.failurePolicy }}" && w.matchPolicy == "Equivalent" && !has(w.clientConfig.url) &&
      w.clientConfig.service.namespace == "{{ .Release.Namespace }}" && w.clientConfig.service.name == "commitgate" && w.clientConfig.service.path == "/review" &&
      w.rules.exists(r, r.apiGroups == ["*"] && r.apiVersions == ["*"] && r.operations == ["*"] && r.resources == ["*/*"] && r.scope == "*") &&
      !has(w.namespaceSelector.matchLabels) && !has(w.namespaceSelector.matchExpressions) &&
      !has(w.objectSelector.matchLabels) && !has(w.objectSelector.matchExpressions) &&
      w.matchConditions.all(c, c.expression in [
      {{- range include "commitgate.matchConditions" . | fromYamlArray }}
      '{{ .expression }}',
      {{- end }}
      ]))
  validations:
  - expression: >-
      variables.repairs ||
      (has(request.dryRun) && request.dryRun) ||
      (request.resource.group == "commitgate.dev" && request.?subResource.orValue("") == "status" && request.operation == "UPDATE") ||
      (request.resource.group == "coordination.k8s.io" && request.resource.resource == "leases" && request.namespace == "{{ .Release.Namespace }}" && request.operation in ["CREATE", "UPDATE"]) ||
      request.resource.group == "openreports.io" ||
      (request.resource.group in ["", "events.k8s.io"] && request.resource.resource == "events" && request.operation in ["CREATE", "UPDATE"]) ||
      request.resource.group in ["authentication.k8s.io", "authorization.k8s.io"]
    message: The gate's own identity never asks for this. Its token may be stolen.
    reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: commitgate-own-identity
  labels: {{- include "commitgate.labels" . | nindent 4 }}
spec:
  policyName: commitgate-own-identity
  validationActions: [Deny, Audit]
---
# What the gate goes by. Once a Gate is there, its agents bring changes from Git (the webhook judges what they bring, and takes two signatures), and
# members of {{ .Values.selfProtection.adminGroup }} with a grant; nobody but the gate writes status. Before that, whoever may create the first one.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: commitgate-guards-configuration
  labels: {{- include "commitgate.labels" . | nindent 4 }}
spec:
  failurePolicy: Fail
  paramKind: {apiVersion: commitgate.dev/v1alpha1, kind: Gate}
  matchConstraints:
    resourceRules:
    - apiGroups: [commitgate.dev]
      apiVersions: ["*"]
      operations: [CREATE, UPDATE, DELETE]
      resources: [gates, trustedrepositories, gates/status, trustedrepositories/status]
  variables:
  - name: administrator
    expression: '"{{ .Values.selfProtection.adminGroup }}" in request.userInfo.groups'
  - name: status
    expression: request.?subResource.orValue("") == "status"
  - name: gate
    expression: request.userInfo.username == "{{ include "commitgate.serviceAccount" . }}"
  - name: agent
    expression: params.spec.agents.exists(a, request.userInfo.username in a.users || (has(a.impersonates) && request.userInfo.username in a.impersonates))
  validations:
  - expression: "variables.status ? variables.gate : (variables.administrator || variables.agent)"
    messageExpression: >-
      "commitgate guards its configuration: " + request.userInfo.username + " may not change it. Next: change it in Git, signed, and let the agent apply it."
    reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: commitgate-guards-configuration
  labels: {{- include "commitgate.labels" . | nindent 4 }}
spec:
  policyName: commitgate-guards-configuration
  paramRef:
    selector: {}
    parameterNotFoundAction: Allow
  validationActions: [Deny, Audit]
{{- end }}

{{- /* What the package guard of the gate makes from the same configuration (commitgate backstop); test/install holds the two to each other. */ -}}
{{- define "commitgate.controllers" -}}
- system:apiserver
- system:kube-controller-manager
- system:kube-scheduler
- system:serviceaccount:kube-system:attachdetach-controller
- system:serviceaccount:kube-system:bootstrap-signer
- system:serviceaccount:kube-system:certificate-controller
- system:serviceaccount:kube-system:cloud-controller-manager
- system:serviceaccount:kube-system:cloud-node-controller
- system:serviceaccount:kube-system:cloud-node-lifecycle-controller
- system:serviceaccount:kube-system:clusterrole-aggregation-controller
- system:serviceaccount:kube-system:cronjob-controller
- system:serviceaccount:kube-system:daemon-set-controller
- system:serviceaccount:kube-system:deployment-controller
- system:serviceaccount:kube-system:device-taint-eviction-controller
- system:serviceaccount:kube-system:disruption-controller
- system:serviceaccount:kube-system:endpoint-controller
- system:serviceaccount:kube-system:endpointslice-controller
- system:serviceaccount:kube-system:endpointslicemirroring-controller
- system:serviceaccount:kube-system:ephemeral-volume-controller
- system:serviceaccount:kube-system:expand-controller
- system:serviceaccount:kube-system:generic-garbage-collector
- system:serviceaccount:kube-system:horizontal-pod-autoscaler
- system:serviceaccount:kube-system:job-controller
- system:serviceaccount:kube-system:kube-apiserver-serving-clustertrustbundle-publisher
- system:serviceaccount:kube-system:legacy-service-account-token-cleaner
- system:serviceaccount:kube-system:namespace-controller
- system:serviceaccount:kube-system:node-controller
- system:serviceaccount:kube-system:persistent-volume-binder
- system:serviceaccount:kube-system:pod-garbage-collector
- system:serviceaccount:kube-system:podcertificaterequestcleaner
- system:serviceaccount:kube-system:podgroup-protection-controller
- system:serviceaccount:kube-system:pv-protection-controller
- system:serviceaccount:kube-system:pvc-protection-controller
- system:serviceaccount:kube-system:replicaset-controller
- system:serviceaccount:kube-system:replication-controller
- system:serviceaccount:kube-system:resource-claim-controller
- system:serviceaccount:kube-system:resourcepoolstatusrequest-controller
- system:serviceaccount:kube-system:resourcequota-controller
- system:serviceaccount:kube-system:root-ca-cert-publisher
- system:serviceaccount:kube-system:route-controller
- system:serviceaccount:kube-system:service-account-controller
- system:serviceaccount:kube-system:service-cidrs-controller
- system:serviceaccount:kube-system:service-controller
- system:serviceaccount:kube-system:statefulset-controller
- system:serviceaccount:kube-system:storage-version-garbage-collector
- system:serviceaccount:kube-system:storage-version-migrator-controller
- system:serviceaccount:kube-system:taint-eviction-controller
- system:serviceaccount:kube-system:token-cleaner
- system:serviceaccount:kube-system:ttl-after-finished-controller
- system:serviceaccount:kube-system:ttl-controller
- system:serviceaccount:kube-system:validatingadmissionpolicy-status-controller
- system:serviceaccount:kube-system:volumeattributesclass-protection-controller
{{- end }}

{{- define "commitgate.patterns" -}}
{{- $out := list -}}
{{- range . -}}
{{- if eq . "" }}{{ $out = append $out "request.?namespace.orValue(\"\") == \"\"" }}{{ else }}{{ $out = append $out (printf "request.?namespace.orValue(\"\").matches(\"^%s$\")" (replace "*" ".*" .)) }}{{ end -}}
{{- end -}}
({{ join " || " $out }})
{{- end }}

{{- define "commitgate.chain" -}}
{{- $out := printf "%t" (eq .own .strict) -}}
{{- range $o := reverse (.overrides | default list) -}}
{{- $value := get $o $.key -}}
{{- $strict := eq $value $.strict -}}
{{- $about := or (ne $.key "mode") (not $o.reasons) (has "NotFromSyncAgent" ($o.reasons | default list)) -}}
{{- if and $value $about (not (and $strict $o.kinds)) -}}
{{- if $o.namespaces }}{{ $out = printf "(%s ? %t : %s)" (include "commitgate.patterns" $o.namespaces) $strict $out }}{{ else }}{{ $out = printf "%t" $strict }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $out -}}
{{- end }}

{{- define "commitgate.enforced" -}}
{{- $mode := include "commitgate.chain" (dict "own" .Values.gate.mode "strict" "Enforce" "key" "mode" "overrides" .Values.gate.overrides) -}}
{{- $scope := include "commitgate.chain" (dict "own" .Values.gate.scope "strict" "Everything" "key" "scope" "overrides" .Values.gate.overrides) -}}
{{- if and (contains "true" $mode) (contains "true" $scope) }}{{ $mode }} && {{ $scope }}{{ end -}}
{{- end }}

{{- define "commitgate.names" -}}
{{- $out := list -}}
{{- range . }}{{ $out = append $out (quote .) }}{{ end -}}
[{{ join ", " $out }}]
{{- end }}

{{- define "commitgate.backstop" -}}
{{- $users := list (include "commitgate.serviceAccount" .) -}}
{{- $parts := "" -}}
{{- range $agent := include "commitgate.agents" . | fromYamlArray }}
{{- $users = concat $users $agent.users }}
{{- if eq $agent.preset "Fleet" }}
{{- $controllers := list -}}
{{- range $user := $agent.users }}
{{- if regexMatch "^system:serviceaccount:[^:]*:fleet-controller$" $user }}{{ $controllers = append $controllers (index (splitList ":" $user) 2) }}{{ end -}}
{{- end }}
{{- if $controllers }}
{{- $parts = printf "%s || request.userInfo.username.matches(\"^system:serviceaccount:((%s):(gitjob|helmops)|%s:git-[^:]+|cluster-[^:]+:request-[^:]+)$\")" $parts (join "|" $controllers) (dig "fleet" "namespace" "fleet-local" $agent | default "fleet-local") }}
{{- end }}
{{- end }}
{{- range $user := $agent.users }}
{{- if and (eq $agent.preset "Flux") (regexMatch "^system:serviceaccount:[^:]*:(kustomize|helm)-controller$" $user) }}
{{- range list "source-controller" "notification-controller" "image-reflector-controller" "image-automation-controller" "source-watcher" }}
{{- $users = append $users (regexReplaceAll "(kustomize|helm)-controller$" $user .) }}
{{- end }}
{{- else if and (eq $agent.preset "ArgoCD") (regexMatch "^system:serviceaccount:.*application-controller$" $user) }}
{{- range list "applicationset-controller" "server" "notifications-controller" }}
{{- $users = append $users (printf "%s%s" (trimSuffix "application-controller" $user) .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- $groups := list -}}
{{- range include "commitgate.exemptions" . | fromYamlArray }}{{ $users = concat $users (.users | default list) }}{{ $groups = concat $groups (.groups | default list) }}{{ end -}}
# Who is neither a sync agent, nor a built-in controller, nor named by an exemption, changes nothing: also with every pod of the gate down, and its
# webhook deleted. Names, not Git: a grant of break-glass takes a member of the group, too.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: commitgate-backstop
  labels: {{- include "commitgate.labels" . | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - apiGroups: ["*"]
      apiVersions: ["*"]
      operations: [CREATE, UPDATE, DELETE]
      resources: ["*/*"]
      scope: "*"
  matchConditions:
{{ include "commitgate.matchConditions" . | indent 2 }}
  - name: no-admission-configuration
    expression: request.resource.group != "admissionregistration.k8s.io"
  - name: is-enforced
    expression: {{ include "commitgate.enforced" . | squote }}
  variables:
  - name: components
    expression: 'request.userInfo.username in {{ include "commitgate.names" (include "commitgate.controllers" . | fromYamlArray) }} || (request.userInfo.username.startsWith("system:node:") && "system:nodes" in request.userInfo.groups)'
  - name: named
    expression: 'request.userInfo.username in {{ include "commitgate.names" ($users | uniq | sortAlpha) }}{{ $parts }}'
  - name: member
    expression: 'request.userInfo.groups.exists(g, g in {{ include "commitgate.names" (append ($groups | uniq | sortAlpha) .Values.selfProtection.adminGroup) }})'
  validations:
  - expression: variables.components || variables.named || variables.member
    messageExpression: '"NotFromSyncAgent: " + request.userInfo.username + " may not change this; the cluster is managed from Git. Next: change it there (refused by commitgate''s backstop)."'
    reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: commitgate-backstop
  labels: {{- include "commitgate.labels" . | nindent 4 }}
spec:
  policyName: commitgate-backstop
  validationActions: [Deny, Audit]
{{- end }}
