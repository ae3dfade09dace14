package manifest

import (
	"path"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/git"
)

// ignores are the patterns of a .sourceignore file or of a GitRepository's spec.ignore, in the syntax of gitignore(5).
type ignores []ignorePattern

type ignorePattern struct {
	base     string // the folder of the file, "" for the root
	segments []string
	negated  bool // !
	folder   bool // ends with /
}

// fluxDefaultIgnores are the patterns by which source-controller leaves files out of every artifact, as far as they could be manifests
// (fluxcd/pkg sourceignore).
const fluxDefaultIgnores = `
.git/
.gitignore
.gitmodules
.gitattributes
.github/
.circleci/
.travis.yml
.gitlab-ci.yml
appveyor.yml
.drone.yml
cloudbuild.yaml
codeship-services.yml
codeship-steps.yml
**/.goreleaser.yml
**/.sops.yaml
**/.flux.yaml
`

// fluxRules are how kustomize-controller reads a folder without a kustomization: it generates one that names every YAML file below
// (fluxcd/pkg kustomize, Generator) that source-controller has left in the artifact. ignore is the GitRepository's own spec.ignore.
func (r *renderer) fluxRules(b *Build, repository, ignore string) folderRules {
	var found ignores // of .sourceignore files, a folder's after those of the folders above
	looked := map[git.Path]bool{}
	defaults, own := parseIgnores(".", fluxDefaultIgnores), parseIgnores(".", ignore)
	look := func(dir git.Path) error {
		if looked[dir] {
			return nil
		}
		looked[dir] = true
		f := file{repository, join(dir, ".sourceignore")}
		id, err := r.input(b, f)
		if err != nil || id == "" {
			return err
		}
		text, err := r.readBytes(f)
		found = append(found, parseIgnores(dir, string(text))...)
		return err
	}
	skip := func(p git.Path, folder bool) (bool, error) {
		for i, c := range "." + string(p) { // the folders above, from the root
			if i == 0 || c == '/' {
				if err := look(git.Path(path.Clean(string(p)[:max(i-1, 0)]))); err != nil {
					return false, err
				}
			}
		}
		return slices.Concat(defaults, found, own).match(p, folder), nil
	}
	return folderRules{recurse: true, kustomize: true, extensions: []string{".yaml", ".yml"}, dialect: dialectKustomize, skip: skip}
}

// parseIgnores reads patterns that hold below a folder.
func parseIgnores(base git.Path, text string) ignores {
	if base == "." {
		base = ""
	}
	var out ignores
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasSuffix(line, `\ `) {
			line = strings.TrimRight(line, " ")
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p := ignorePattern{base: string(base)}
		if line, p.negated = strings.CutPrefix(line, "!"); !p.negated {
			line = strings.TrimPrefix(line, `\`)
		}
		line, p.folder = strings.CutSuffix(line, "/")
		if !strings.Contains(strings.TrimPrefix(line, "/"), "/") && !strings.HasPrefix(line, "/") {
			line = "**/" + line // without a slash it holds at any depth
		}
		p.segments = strings.Split(strings.TrimPrefix(line, "/"), "/")
		out = append(out, p)
	}
	return out
}

// match tells whether the last pattern that says something about a path leaves it out.
func (is ignores) match(p git.Path, folder bool) bool {
	for i := len(is) - 1; i >= 0; i-- {
		if is[i].match(string(p), folder) {
			return !is[i].negated
		}
	}
	return false
}

func (p ignorePattern) match(name string, folder bool) bool {
	if p.folder && !folder {
		return false
	}
	if p.base != "" {
		below, ok := strings.CutPrefix(name, p.base+"/")
		if !ok {
			return false
		}
		name = below
	}
	return matchSegments(p.segments, strings.Split(name, "/"))
}

// matchSegments matches segment by segment; ** stands for any number of them. The patterns are short, and so are paths.
func matchSegments(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			if len(pattern) == 1 {
				return len(name) > 0
			}
			for i := range name {
				if matchSegments(pattern[1:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}
