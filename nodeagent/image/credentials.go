package image

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// hub is how docker.io is called in configurations of docker.
const hub = "index.docker.io"

// keyring holds credentials by the pattern of the repositories that they are for, as in
// https://kubernetes.io/docs/concepts/containers/images/#config-json.
type keyring map[string][]authn.Authenticator

// login is one entry of a .dockerconfigjson.
type login struct {
	Username, Password string
	// Auth is base64 of username:password, and counts more.
	Auth string
}

// newKeyring gathers what the secrets hold. What cannot be read is left out, as in Kubernetes: the registry then refuses.
func newKeyring(secrets [][]byte) keyring {
	k := keyring{}
	for _, secret := range secrets {
		var config struct{ Auths map[string]login }
		if json.Unmarshal(secret, &config) != nil {
			continue
		}
		for _, location := range slices.Sorted(maps.Keys(config.Auths)) {
			auth, ok := config.Auths[location].authenticator()
			if pattern := pattern(location); ok && pattern != "" {
				k[pattern] = append(k[pattern], auth)
			}
		}
	}
	return k
}

func (l login) authenticator() (authn.Authenticator, bool) {
	basic := &authn.Basic{Username: l.Username, Password: l.Password}
	if l.Auth == "" {
		return basic, l.Username != "" || l.Password != ""
	}
	decoded, err := base64.StdEncoding.DecodeString(l.Auth)
	if err != nil {
		decoded, err = base64.RawStdEncoding.DecodeString(l.Auth)
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok {
		return nil, false
	}
	return &authn.Basic{Username: user, Password: password}, true
}

// pattern is host and path of a location; "" if it is none.
func pattern(location string) string {
	if !strings.HasPrefix(location, "https://") && !strings.HasPrefix(location, "http://") {
		location = "https://" + location
	}
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	p := u.Path
	if strings.HasPrefix(p, "/v1/") || strings.HasPrefix(p, "/v2/") {
		p = p[len("/v1"):]
	}
	return u.Host + strings.TrimSuffix(p, "/")
}

// find returns the credentials for a repository, the most specific first; Anonymous if there are none.
func (k keyring) find(repository string) []authn.Authenticator {
	var found []authn.Authenticator
	for _, pattern := range slices.Backward(slices.Sorted(maps.Keys(k))) {
		if matches(pattern, repository) {
			found = append(found, k[pattern]...)
		}
	}
	if len(found) == 0 && strings.HasPrefix(repository, "docker.io/") {
		found = k[hub]
	}
	if len(found) == 0 {
		return []authn.Authenticator{authn.Anonymous}
	}
	return found
}

// matches compares label by label, so that a star stands for one label of the host, then ports, then paths, of which
// the pattern's is a prefix.
func matches(pattern, repository string) bool {
	patternHost, patternPath, _ := strings.Cut(pattern, "/")
	host, repo, _ := strings.Cut(repository, "/")
	patternHost, patternPort, _ := strings.Cut(patternHost, ":")
	host, port, _ := strings.Cut(host, ":")
	want, have := strings.Split(patternHost, "."), strings.Split(host, ".")
	if patternPort != port || len(want) != len(have) || !strings.HasPrefix(repo, patternPath) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
