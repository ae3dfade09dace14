package install

import (
	"slices"
	"strings"
	"testing"
)

// TestChartValues: each value that stands for a flag or a right of the gate comes out as that.
func TestChartValues(t *testing.T) {
	objects, _, err := template(t, values(t, least, `
policyInventory: [{apiGroups: [networking.k8s.io], resources: [ingresses]}]
policyInventoryMemory: 512
dryRunRules: [{apiGroups: [apps], resources: [deployments]}]
webhook: {clientCASecret: api-server-ca}
audit: {retention: 9600h, ship: "s3://evidence/prod", streamTokenSecret: stream-token, digestKeySecret: digest-key}
verifiedKeySecret: verified-key
decryptionSecret: sops-keys
extraArgs: [--audit-seal-interval=10s]
extraEnv: [{name: AWS_REGION, value: eu-central-1}]
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ClusterRole commitgate-inventory": `[{"apiGroups":["networking.k8s.io"],"resources":["ingresses"],"verbs":["get","list","watch"]}]`,
		"ClusterRole commitgate-dry-run":   `[{"apiGroups":["apps"],"resources":["deployments"],"verbs":["create","patch"]}]`,
	} {
		if objects[name] == nil || text(objects[name]["rules"]) != want {
			t.Errorf("%s: %s, want %s", name, text(objects[name]), want)
		}
		if binding := strings.Replace(name, "ClusterRole", "ClusterRoleBinding", 1); objects[binding] == nil {
			t.Errorf("no %s", binding)
		}
	}
	pod := objects["StatefulSet commitgate"]["spec"].(object)["template"].(object)["spec"].(object)
	container := pod["containers"].([]any)[0].(object)
	for flag, secret := range map[string]string{
		"--client-ca=/etc/commitgate-client-ca/ca.crt":      "api-server-ca",
		"--audit-stream-token=/etc/commitgate-stream/token": "stream-token",
		"--audit-digest-key=/etc/commitgate-digest/key":     "digest-key",
		"--verified-key=/etc/commitgate-verified/key":       "verified-key",
		"--inventory-memory=512":                            "",
		"--audit-retention=9600h":                           "",
		"--audit-ship=s3://evidence/prod":                   "",
		"--audit-seal-interval=10s":                         "",
	} {
		if !slices.Contains(container["args"].([]any), any(flag)) {
			t.Errorf("no %s in %s", flag, text(container["args"]))
		}
		if secret == "" {
			continue
		}
		_, file, _ := strings.Cut(flag, "=")
		dir := file[:strings.LastIndex(file, "/")]
		name := strings.TrimPrefix(dir, "/etc/commitgate-")
		if mounts := text(container["volumeMounts"]); !strings.Contains(mounts, `"mountPath":"`+dir+`","name":"`+name+`"`) {
			t.Errorf("%s is not mounted: %s", dir, mounts)
		}
		if volumes := text(pod["volumes"]); !strings.Contains(volumes, `{"name":"`+name+`","secret":{"secretName":"`+secret+`"}}`) {
			t.Errorf("%s is no volume: %s", secret, volumes)
		}
	}
	if volumes := text(pod["volumes"]); !strings.Contains(volumes, `{"name":"decryption","secret":{"secretName":"sops-keys"}}`) {
		t.Errorf("the keys of SOPS are no volume: %s", volumes)
	}
	gate := objects["ConfigMap commitgate"]["data"].(object)["gate.yaml"].(string)
	if mounts := text(container["volumeMounts"]); !strings.Contains(gate, "keys: /etc/commitgate-decryption") || !strings.Contains(mounts, `"mountPath":"/etc/commitgate-decryption"`) {
		t.Errorf("the keys of SOPS are not where the gate looks: %s in\n%s", mounts, gate)
	}
	if !strings.Contains(text(container["env"]), "AWS_REGION") {
		t.Errorf("env: %s", text(container["env"]))
	}
}

// TestChartPeers: the keys that were collected are where each replica looks for the others, by its pod's name, and a change restarts them.
func TestChartPeers(t *testing.T) {
	none, _, err := template(t, values(t, least))
	if err != nil {
		t.Fatal(err)
	}
	objects, _, err := template(t, values(t, least, `audit: {peers: {commitgate-0: "a\nb\n", commitgate-1: "c\nd\n"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if have := text(objects["ConfigMap commitgate-peers"]["data"]); have != `{"commitgate-0":"a\nb\n","commitgate-1":"c\nd\n"}` {
		t.Errorf("the keys are %s", have)
	}
	set := text(objects["StatefulSet commitgate"])
	for _, want := range []string{`"--audit-peers=/etc/commitgate-peers"`, `{"mountPath":"/etc/commitgate-peers","name":"peers","readOnly":true}`,
		`{"configMap":{"name":"commitgate-peers","optional":true},"name":"peers"}`, "checksum/peers"} {
		if !strings.Contains(set, want) {
			t.Errorf("no %s in %s", want, set)
		}
	}
	if none["ConfigMap commitgate-peers"] != nil {
		t.Error("keys of nobody")
	}
	// The address of a peer is that of its pod: --audit-peer-url by default.
	if service := objects["Service commitgate-replicas"]["spec"].(object); service["clusterIP"] != "None" || service["publishNotReadyAddresses"] != true || !strings.Contains(text(service["ports"]), `"port":8080`) {
		t.Errorf("no names for the replicas: %s", text(service))
	}
}

// TestChartCertManager: a guarded gate gets its certificate all the same, and nobody injects into the webhook's configuration.
func TestChartCertManager(t *testing.T) {
	objects, _, err := template(t, values(t, least, `certificates: {source: certManager, certManager: {issuerRef: {name: ca, kind: ClusterIssuer}, caBundle: PEM}}`))
	if err != nil {
		t.Fatal(err)
	}
	if guard := text(objects["ValidatingAdmissionPolicy commitgate-guards-itself"]); !strings.Contains(guard, "system:serviceaccount:cert-manager:cert-manager") {
		t.Errorf("cert-manager may not write the Secret: %s", guard)
	}
	hook := text(objects["ValidatingWebhookConfiguration commitgate"])
	if !strings.Contains(hook, `"caBundle":"UEVN"`) || strings.Contains(hook, "inject-ca-from") {
		t.Errorf("want the given authority, and no injector: %s", hook)
	}
	if objects["Secret commitgate-ca"] != nil || objects["Certificate commitgate"] == nil || objects["Issuer commitgate"] != nil {
		t.Error("want a Certificate of the given issuer, and no authority of our own")
	}
}

// TestChartRotation: the own authority is replaced unless somebody says otherwise, and where it is not, nobody has the right to.
func TestChartRotation(t *testing.T) {
	for name, tt := range map[string]struct {
		values string
		want   bool
	}{
		"by default":                {``, true},
		"at another time":           {`certificates: {rotation: {schedule: "0 4 * * 1"}}`, true},
		"an administrator does it":  {`certificates: {rotation: {enabled: false}}`, false},
		"cert-manager renews":       {`certificates: {source: certManager, certManager: {issuerRef: {name: ca}, caBundle: PEM}}`, false},
		"static manifests stand":    {`webhook: {register: false}`, false},
		"without selfProtection":    {`selfProtection: {enabled: false}`, true},
		"without a network policy":  {`networkPolicy: {enabled: false}`, true},
		"images of a private store": {`imagePullSecrets: [{name: store}]`, true},
	} {
		t.Run(name, func(t *testing.T) {
			objects, _, err := template(t, values(t, least, tt.values))
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{"CronJob", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} {
				if got := objects[kind+" commitgate-certificates"] != nil; got != tt.want {
					t.Errorf("%s: %t, want %t", kind, got, tt.want)
				}
			}
			if guard := text(objects["ValidatingAdmissionPolicy commitgate-guards-itself"]); strings.Contains(guard, "rotation") != (tt.want && guard != "null") {
				t.Errorf("the guard knows of it, or does not: %s", guard)
			}
			job := text(objects["CronJob commitgate-certificates"])
			for words, want := range map[string]bool{"17 3 * * *": tt.want && !strings.Contains(tt.values, "schedule"), "0 4 * * 1": strings.Contains(tt.values, "schedule"), "store": strings.Contains(tt.values, "store")} {
				if strings.Contains(job, words) != want {
					t.Errorf("%q in the CronJob: want %t: %s", words, want, job)
				}
			}
		})
	}
}
