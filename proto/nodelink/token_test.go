package nodelink

import (
	"strings"
	"testing"
)

var goodToken = "wherry1.abc123.0123456789abcdef." + KeyHash([]byte("key"))

func TestParseToken(t *testing.T) {
	token, err := ParseToken(goodToken + "\n")
	if err != nil || token.ID != "abc123" || token.Secret != "0123456789abcdef" || token.String() != goodToken {
		t.Fatalf("%v, %v", token, err)
	}
	for _, bad := range []string{
		"", "wherry1", goodToken[1:], goodToken + ".x", goodToken[:len(goodToken)-1], goodToken[:len(goodToken)-1] + "g",
		strings.ToUpper(goodToken), strings.Replace(goodToken, "abc123", "abc-23", 1), strings.Replace(goodToken, "abc123", "abc1234", 1),
		strings.Replace(goodToken, "0123456789abcdef", "0123456789abcde!", 1), strings.Replace(goodToken, "wherry1", "wherry2", 1),
	} {
		_, err := ParseToken(bad)
		if err == nil {
			t.Errorf("%q was taken", bad)
		} else if strings.Contains(err.Error(), "0123456789abcde") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(goodToken)
	f.Add("wherry1...")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err == nil && token.String() != strings.TrimSpace(s) {
			t.Errorf("%q became %q", s, token)
		}
	})
}
