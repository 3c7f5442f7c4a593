{{/*
The objects of a file, in the release's namespace: include "hookgate.file" (list $ "files/x.yaml" LABELS), with LABELS
added to each. Objects that no namespace has say none in the file either, or are named here.
*/}}
{{- define "hookgate.file" -}}
{{- $root := index . 0 -}}
{{- range $text := splitList "\n---\n" ($root.Files.Get (index . 1)) }}
{{- $object := fromYaml $text }}
{{- if or (ne $object.kind "ServiceAccount") $root.Values.rbac.serviceAccount }}
---
{{ include "hookgate.object" (list $root $object (index $ 2)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* One object, likewise: include "hookgate.object" (list $ OBJECT LABELS). */}}
{{- define "hookgate.object" -}}
{{- $root := index . 0 -}}
{{- $object := index . 1 -}}
{{- if not (hasPrefix "Cluster" $object.kind) }}
{{- $_ := set $object.metadata "namespace" $root.Release.Namespace }}
{{- end }}
{{- range $subject := $object.subjects }}
{{- $_ := set $subject "namespace" $root.Release.Namespace }}
{{- end }}
{{- with index . 2 }}
{{- $_ := set $object.metadata "labels" (merge (deepCopy .) (default dict $object.metadata.labels)) }}
{{- end }}
{{- toYaml $object }}
{{- end }}
