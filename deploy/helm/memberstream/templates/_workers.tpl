{{- define "memberstream.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{- define "memberstream.labels" -}}
{{ include "memberstream.selector" . }}
app.kubernetes.io/version: {{ .top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
helm.sh/chart: {{ .top.Chart.Name }}-{{ .top.Chart.Version }}
{{- end }}

{{- define "memberstream.selector" -}}
app.kubernetes.io/name: {{ .top.Chart.Name }}
app.kubernetes.io/instance: {{ .top.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* A value as text. Helm reads whole numbers as floats, which would become 1e+06. */ -}}
{{- define "memberstream.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- /* Variables that name the files of secrets. A secret setting reads its value from one; others are given its path. */ -}}
{{- define "memberstream.secretVariables" -}}
{{- range . }}
- name: {{ .setting }}{{ if not (or (hasSuffix "_LOCATION" .setting) (hasSuffix "_USERS" .setting)) }}_FILE{{ end }}
  value: /run/secrets/memberstream/{{ .setting }}
{{- end }}
{{- end }}

{{- define "memberstream.secretVolume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range . }}
      - secret: {name: {{ .secret }}, items: [{key: {{ .key }}, path: {{ .setting }}}]}
      {{- end }}
{{- end }}

{{- /* What all pods have: no root, and where they may run. */ -}}
{{- define "memberstream.pod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /*
The workers of one kind. `top`: the chart; `component`, `name`, `args`; `of`: their values; `isScaled`: by KEDA.
*/ -}}
{{- define "memberstream.workers" -}}
{{- $values := .top.Values -}}
{{- $from := list }}{{ range $values.secrets }}{{ $from = append $from .setting }}{{ end -}}
{{- $answers := and (eq .component "worker") (has "MEMBERSTREAM_QUERY_SECRET" $from) -}}
{{- if not (or (hasKey $values.settings "MEMBERSTREAM_REDIS_URL") (has "MEMBERSTREAM_REDIS_URL" $from)) -}}
{{- fail "where is Redis? Set MEMBERSTREAM_REDIS_URL in `secrets`, or in `settings` if it has no password" -}}
{{- end -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels: {{- include "memberstream.labels" . | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true  # a worker that isn't ready has metrics, too
  selector: {{- include "memberstream.selector" . | nindent 4 }}
  ports:
    - {name: metrics, port: 9464, targetPort: metrics}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ .name }}
  labels: {{- include "memberstream.labels" . | nindent 4 }}
spec:
  serviceName: {{ .name }}
  {{- if not .isScaled }}
  replicas: {{ .of.replicas }}
  {{- end }}
  # All start at once, so that the group forms once. An update still restarts one after the other, when the one before
  # is ready.
  podManagementPolicy: Parallel
  selector:
    matchLabels: {{- include "memberstream.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "memberstream.selector" . | nindent 8 }}
      {{- with $values.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      automountServiceAccountToken: false
      # Kubernetes would describe the Service in variables that begin with MEMBERSTREAM_. Workers refuse unknown ones.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      {{- include "memberstream.pod" .top | nindent 6 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "memberstream.selector" . | nindent 14 }}
      containers:
        - name: worker
          image: "{{ $values.image.repository }}:{{ $values.image.tag | default .top.Chart.AppVersion }}"
          imagePullPolicy: {{ $values.image.pullPolicy }}
          args: {{ toJson .args }}
          env:
            # Its name in the group: who is back within the session timeout gets its partitions without a rebalance.
            - name: MEMBERSTREAM_KAFKA_GROUP_INSTANCE_ID
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
            - {name: MEMBERSTREAM_DATA_DIR, value: /state/data}
            - {name: MEMBERSTREAM_METRICS_HOST, value: 0.0.0.0}
            - {name: MEMBERSTREAM_METRICS_PORT, value: "9464"}
            {{- range $name, $value := $values.settings }}
            - {name: {{ $name }}, value: {{ include "memberstream.text" $value | quote }}}
            {{- end }}
            {{- with $values.secrets }}
            {{- include "memberstream.secretVariables" . | trim | nindent 12 }}
            {{- end }}
            {{- if $answers }}
            # Its address, as the console reaches it: it tells it in Redis.
            - name: MEMBERSTREAM_QUERY_HOST
              valueFrom: {fieldRef: {fieldPath: status.podIP}}
            - {name: MEMBERSTREAM_QUERY_PORT, value: "9465"}
            {{- end }}
          ports:
            - {name: metrics, containerPort: 9464}
            {{- if $answers }}
            - {name: query, containerPort: 9465}
            {{- end }}
          # Alive and ready aren't the same: a restart doesn't bring Redis or Kafka back.
          startupProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 2, failureThreshold: 60}
          livenessProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 10, timeoutSeconds: 3}
          readinessProbe: {httpGet: {path: /readyz, port: metrics}, periodSeconds: 5, timeoutSeconds: 3}
          resources: {{- toYaml .of.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: state, mountPath: /state}
            - {name: tmp, mountPath: /tmp}
            {{- if $values.secrets }}
            - {name: secrets, mountPath: /run/secrets/memberstream, readOnly: true}
            {{- end }}
      volumes:
        - {name: tmp, emptyDir: {}}
        {{- with $values.secrets }}
        {{- include "memberstream.secretVolume" . | trim | nindent 8 }}
        {{- end }}
  volumeClaimTemplates:
    - metadata: {name: state}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .of.volume.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources: {requests: {storage: {{ .of.volume.size }}}}
{{- with $values.podDisruptionBudget }}
{{- if .enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $.name }}
  labels: {{- include "memberstream.labels" $ | nindent 4 }}
spec:
  maxUnavailable: {{ .maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow  # workers that wait for Redis keep no node from being drained
  selector:
    matchLabels: {{- include "memberstream.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- with $values.serviceMonitor }}
{{- if .enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ $.name }}
  labels: {{- include "memberstream.labels" $ | nindent 4 }}
    {{- with .labels }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  selector:
    matchLabels: {{- include "memberstream.selector" $ | nindent 6 }}
  endpoints:
    - port: metrics
      interval: {{ .interval }}
      # The operator would take the Service's name; alerts and dashboards know these.
      relabelings: [{targetLabel: job, replacement: memberstream{{ if eq $.component "interactions" }}-interactions{{ end }}}]
{{- end }}
{{- end }}
{{- with $values.networkPolicy }}
{{- if .enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $.name }}
  labels: {{- include "memberstream.labels" $ | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "memberstream.selector" $ | nindent 6 }}
  policyTypes: [Ingress{{ if .egress }}, Egress{{ end }}]
  ingress:
    {{- if not (or .metricsFrom (and $answers $values.console.enabled)) }} []
    {{- end }}
    {{- if .metricsFrom }}
    - ports: [{port: metrics}]
      from: {{- toYaml .metricsFrom | nindent 8 }}
    {{- end }}
    {{- if and $answers $values.console.enabled }}
    - ports: [{port: query}]
      from:
        - podSelector:
            matchLabels: {{- include "memberstream.selector" (dict "top" $.top "component" "console") | nindent 14 }}
    {{- end }}
  {{- if .egress }}
  egress:
    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    {{- toYaml .egress | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
