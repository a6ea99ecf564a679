// Command programs is a guest that does what real programs do, with the standard library: each argument names a task.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"go/format"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"regexp"
	"strings"
	"text/template"
)

var tasks = map[string]func() []byte{
	"gzip": compress, "json": encode, "regexp": match, "gofmt": formatting, "png": draw, "template": render, "sha256": digest,
}

func main() {
	for _, name := range os.Args[1:] {
		h := fnv.New64a()
		h.Write(tasks[name]())
		fmt.Printf("%s %x\n", name, h.Sum64())
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// prose is text that compresses as text does.
func prose(words int) string {
	var b strings.Builder
	x := uint32(1)
	for range words {
		x = x*1664525 + 1013904223
		fmt.Fprintf(&b, "word%d ", x>>20%997)
	}
	return b.String()
}

func compress() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	must(io.WriteString(w, prose(60_000)))
	if err := w.Close(); err != nil {
		panic(err)
	}
	r := must(gzip.NewReader(bytes.NewReader(b.Bytes())))
	return must(io.ReadAll(r))
}

type record struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	Values []float64         `json:"values"`
}

func encode() []byte {
	var all []record
	for i := range 1500 {
		all = append(all, record{fmt.Sprint("record", i), map[string]string{"a": "b", "c": fmt.Sprint(i)}, []float64{1.5, float64(i) / 3, -7}})
	}
	text := must(json.Marshal(all))
	var back []record
	if err := json.Unmarshal(text, &back); err != nil {
		panic(err)
	}
	return must(json.MarshalIndent(back, "", " "))
}

func match() []byte {
	re := regexp.MustCompile(`(w\w+d)(\d)(\d+) (word[0-9]*[02468]) `)
	return []byte(re.ReplaceAllString(prose(15_000), "$4-$2$3;"))
}

func formatting() []byte {
	var b strings.Builder
	b.WriteString("package p\n")
	for i := range 300 {
		fmt.Fprintf(&b, "func f%d(a,b int,c map[string][]int)(x int,err error){for i:=0;i<a;i++{if b>i{x+=c[\"k\"][i]*2}else{return x,nil}};return}\n", i)
	}
	return must(format.Source([]byte(b.String())))
}

func draw() []byte {
	m := image.NewRGBA(image.Rect(0, 0, 400, 400))
	for y := range 400 {
		for x := range 400 {
			m.Set(x, y, color.RGBA{uint8(x * y), uint8(x), uint8(y), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	must(png.Decode(bytes.NewReader(b.Bytes())))
	return b.Bytes()
}

func render() []byte {
	t := template.Must(template.New("").Parse(`{{range .}}{{if .Name}}{{.Name | printf "%q"}}: {{range $k, $v := .Labels}}{{$k}}={{$v}},{{end}}{{len .Values}}{{end}}
{{end}}`))
	var all []record
	for i := range 2000 {
		all = append(all, record{fmt.Sprint("record", i), map[string]string{"a": "b", "c": "d"}, make([]float64, i%5)})
	}
	var b bytes.Buffer
	if err := t.Execute(&b, all); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func digest() []byte {
	sum := sha256.Sum256([]byte(prose(300_000)))
	return sum[:]
}
