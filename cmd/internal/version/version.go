// Package version says what release the commands are of.
package version

// Wherry is the release, as in CHANGELOG.md.
const Wherry = "v0.1.0"
