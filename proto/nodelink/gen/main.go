// Gen writes nodelink.pb.go from nodelink.proto with nothing but Go: the compiler is a
// library, the generator a tool of go.mod. Run it with `go generate ./proto/nodelink`.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	source = "nodelink.proto"
	target = "nodelink.pb.go"
)

func main() {
	code, err := generate(".")
	if err == nil {
		err = os.WriteFile(target, code, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// generate returns the Go code for the source in dir.
func generate(dir string) ([]byte, error) {
	file, err := compile(dir)
	if err != nil {
		return nil, err
	}
	answer, err := plugin(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{source},
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{file},
	})
	if err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("protoc-gen-go: %s", answer.GetError())
	}
	if len(answer.File) != 1 {
		return nil, fmt.Errorf("protoc-gen-go made %d files, not 1", len(answer.File))
	}
	return []byte(answer.File[0].GetContent()), nil
}

func compile(dir string) (*descriptorpb.FileDescriptorProto, error) {
	c := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{filepath.Clean(dir)}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(context.Background(), source)
	if err != nil {
		return nil, err
	}
	return protoutil.ProtoFromFileDescriptor(files[0]), nil
}

// plugin pipes the request through protoc-gen-go.
func plugin(request *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "tool", "protoc-gen-go")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("protoc-gen-go: %w", err)
	}
	answer := &pluginpb.CodeGeneratorResponse{}
	return answer, proto.Unmarshal(out, answer)
}
