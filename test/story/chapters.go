package story

import (
	"context"
	"fmt"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/test/lab"
)

// Files of the repository that the story changes.
const (
	cart   = "apps/shop/cart.yaml"
	banner = "apps/shop/banner.yaml"
)

// Chapters is the whole story, in its order.
func Chapters() []Chapter {
	return []Chapter{
		{"The agents apply what Git says", []Step{
			{"flux", "applies apps/shop", Allowed, fluxApplies(5)},
			{"deployment controller", "makes a ReplicaSet, and that its Pods", Allowed, controllersMakePods(2)},
			{"argo cd", "applies apps/payments", Allowed, argoApplies},
		}},
		{"A human with every right that RBAC knows", []Step{
			{"carol", "kubectl edit deployment cart", Refused, carolEdits},
			{"carol", "kubectl scale deployment cart --replicas=9", Refused,
				carol([]string{cart}, "scale", "deployment", "cart", "--replicas=9")},
			{"carol", "kubectl delete deployment cart", Refused,
				carol([]string{"NotFromSyncAgent", cart}, "delete", "deployment", "cart", "--wait=false")},
			{"carol", "kubectl exec cart-… -- sh", Refused, carolExecs},
		}},
		{"The agent's token, stolen", []Step{
			{"thief", "adds hostNetwork: true", Refused, thief([]string{"FieldsDiffer", "hostNetwork"},
				"patch", "deployment", "cart", `--patch={"spec":{"template":{"spec":{"hostNetwork":true}}}}`)},
			{"thief", "adds a sidecar", Refused, thief([]string{"FieldsDiffer", "containers", "miner"},
				"patch", "deployment", "cart", `--patch={"spec":{"template":{"spec":{"containers":[{"name":"miner","image":"miner"}]}}}}`)},
			{"thief", "adds a label", Refused, thief([]string{"FieldsDiffer", "team"},
				"label", "deployment", "cart", "team=red")},
		}},
		{"Commits that nobody should believe", []Step{
			{"flux", "applies a commit without a signature", Refused, fluxAppliesUnverified(
				func(*Stage) *forge.Person { return forge.WithoutKey("Alice Archer", "alice@shop.example") })},
			{"flux", "applies a commit signed with an unknown key", Refused, fluxAppliesUnverified(
				func(s *Stage) *forge.Person { return s.Mallory })},
			{"flux", "follows a force-push that drops settings.yaml", Refused, fluxFollowsForcePush},
		}},
		{"Git moves on", []Step{
			{"flux", "applies a commit of this very moment", Allowed, fluxAppliesNews},
			{"deployment controller", "rolls it out", Allowed, controllersMakePods(1)},
			{"flux", "prunes what Git has dropped", Allowed, fluxPrunes},
			{"thief", "deletes what Git still declares", Refused,
				thief([]string{"StillDeclared", "apps/shop/settings.yaml"}, "delete", "configmap", "settings", "--wait=false")},
		}},
		{"What is left to read", []Step{
			{"auditor", "reads the last records", Read, auditTail},
			{"auditor", "verifies the log", Sound, auditVerify},
			{"auditor", "verifies a copy in which one byte was flipped", Caught, auditFlipped},
		}},
	}
}

// fluxApplies is one reconciliation that makes n changes.
func fluxApplies(n int) func(context.Context, *Stage) (Answer, error) {
	return func(ctx context.Context, s *Stage) (Answer, error) {
		done, err := s.Flux.Sync(ctx)
		if err != nil {
			return nil, err
		}
		if len(done) != n {
			return done, fmt.Errorf("flux did %d things, want %d", len(done), n)
		}
		return s.allowed(ctx, lab.FluxUser, n, fromGit)
	}
}

func argoApplies(ctx context.Context, s *Stage) (Answer, error) {
	done, err := s.ArgoCD.Sync(ctx)
	if err != nil {
		return nil, err
	}
	return s.allowed(ctx, lab.ArgoCDUser, len(done), fromGit)
}

// controllersMakePods waits until the Deployment cart has a new ReplicaSet, and that n Pods, and says by whose word they were made.
func controllersMakePods(n int) func(context.Context, *Stage) (Answer, error) {
	return func(ctx context.Context, s *Stage) (Answer, error) {
		made := func(resource string) func(cluster.Event) (string, error) {
			return func(e cluster.Event) (string, error) {
				if e.Verb != "create" || e.Object.Resource != resource || e.Object.Namespace != "shop" {
					return "", nil
				}
				return fmt.Sprintf("%-6s %-28s %s", e.Verb, object(e), e.Annotations[lab.WebhookName+"/reason"]), nil
			}
		}
		start := s.events
		sets, err := s.allowed(ctx, controller+"deployment-controller", 1, made("replicasets"))
		if err != nil {
			return sets, err
		}
		s.events = start // the pods stand among the same events
		pods, err := s.allowed(ctx, controller+"replicaset-controller", n, made("pods"))
		return append(sets, pods...), err
	}
}

// controller begins the user name of each of Kubernetes' own controllers.
const controller = "system:serviceaccount:kube-system:"

// carol runs kubectl as a cluster administrator, who must be refused with these words.
func carol(words []string, args ...string) func(context.Context, *Stage) (Answer, error) {
	return func(ctx context.Context, s *Stage) (Answer, error) {
		_, err := s.Cluster.Kubectl(ctx, s.CarolConfig, "", append([]string{"--namespace=shop"}, args...)...) // before "--"
		return refusal(err, words...)
	}
}

// thief runs kubectl with the token of Flux, and must be refused with these words.
func thief(words []string, args ...string) func(context.Context, *Stage) (Answer, error) {
	return func(ctx context.Context, s *Stage) (Answer, error) {
		_, err := s.Cluster.Kubectl(ctx, s.FluxConfig, "", append(args, "--namespace=shop")...)
		return refusal(err, words...)
	}
}

// carolEdits opens a real `kubectl edit`; the answer must name the file and the commit to change instead.
func carolEdits(ctx context.Context, s *Stage) (Answer, error) {
	commit, err := s.Repository.Git(ctx, "log", "-1", "--format=%h", "--abbrev=7", "--", cart)
	if err != nil {
		return nil, err
	}
	_, err = s.Cluster.KubectlEdit(ctx, s.CarolConfig, "sed -i s/replicas:.2/replicas:\\ 9/", "deployment", "cart", "--namespace=shop")
	return refusal(err, "NotFromSyncAgent", lab.Carol, "Deployment shop/cart", cart, commit)
}

func carolExecs(ctx context.Context, s *Stage) (Answer, error) {
	pod, err := s.Cluster.Kubectl(ctx, s.CarolConfig, "", "get", "pods", "--namespace=shop", "--selector=app=cart", "--output=jsonpath={.items[0].metadata.name}")
	if err != nil {
		return nil, err
	}
	return carol([]string{"ConnectRefused", pod}, "exec", pod, "--", "sh")(ctx, s)
}

// fluxAppliesUnverified has somebody push a commit that must not be believed. Flux, which checks nothing, applies it. Afterwards the branch
// is put back.
func fluxAppliesUnverified(author func(*Stage) *forge.Person) func(context.Context, *Stage) (Answer, error) {
	return func(ctx context.Context, s *Stage) (answer Answer, err error) {
		good, err := s.Repository.Head(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errorsJoin(err, s.putBack(ctx, good)) }()
		if err := s.ReplaceIn(cart, "cart:1.4.0", "cart:1.4.0-backdoor"); err != nil {
			return nil, err
		}
		if _, err := s.Repository.Publish(ctx, author(s), "speed up the cart", nil); err != nil {
			return nil, err
		}
		_, err = s.Flux.Sync(ctx)
		return refusal(err, "FieldsDiffer", "image", "which is not believed")
	}
}

// fluxFollowsForcePush has Alice rewrite the branch. Her signature is good; the branch may not go backwards all the same.
func fluxFollowsForcePush(ctx context.Context, s *Stage) (answer Answer, err error) {
	good, err := s.Repository.Head(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errorsJoin(err, s.putBack(ctx, good)) }()
	if _, err := s.Repository.Git(ctx, "reset", "--quiet", "--soft", string(s.Anchor)); err != nil {
		return nil, err
	}
	if err := s.Repository.Remove("apps/shop/settings.yaml"); err != nil {
		return nil, err
	}
	if _, err := s.Repository.Commit(ctx, s.Alice, "tidy up history"); err != nil {
		return nil, err
	}
	if err := s.Repository.Push(ctx, true); err != nil {
		return nil, err
	}
	_, err = s.Flux.Sync(ctx)
	return refusal(err, "StillDeclared", "apps/shop/settings.yaml", "the branch was rewritten")
}

// fluxAppliesNews has Bob push and Flux apply before any interval has passed: the gate must fetch within the request.
func fluxAppliesNews(ctx context.Context, s *Stage) (Answer, error) {
	if err := s.ReplaceIn(cart, "cart:1.4.0", "cart:1.5.0"); err != nil {
		return nil, err
	}
	if _, err := s.Repository.Publish(ctx, s.Bob, "cart 1.5.0", nil); err != nil {
		return nil, err
	}
	before := s.Forge.Fetches()
	answer, err := fluxApplies(1)(ctx, s)
	if err != nil {
		return answer, err
	}
	byGate := s.Forge.Fetches() - before - 1 // one was Flux's own
	if byGate < 1 {
		return answer, fmt.Errorf("the gate fetched %d times", byGate)
	}
	return append(answer, fmt.Sprintf("the gate had not seen that commit: it fetched and verified it within the request (%d fetch)", byGate)), nil
}

func fluxPrunes(ctx context.Context, s *Stage) (Answer, error) {
	if _, err := s.Repository.Publish(ctx, s.Alice, "the sale is over", map[string]string{banner: ""}); err != nil {
		return nil, err
	}
	return fluxApplies(1)(ctx, s)
}
