package auth

import "context"

// Builtin is the rule that no role can take away: system:masters may do everything.
type Builtin struct{}

// Authorize implements Authorizer.
func (Builtin) Authorize(_ context.Context, a *Attributes) (Decision, string, error) {
	if a.User.In(GroupMasters) {
		return Allow, "", nil
	}
	return NoOpinion, "", nil
}

// Rules implements Authorizer.
func (Builtin) Rules(_ context.Context, user *User, _ string) (Rules, error) {
	if !user.In(GroupMasters) {
		return Rules{}, nil
	}
	any := []string{"*"}
	return Rules{
		Resources: []ResourceRule{{Verbs: any, Groups: any, Resources: any}},
		Paths:     []PathRule{{Verbs: any, Paths: any}},
	}, nil
}
