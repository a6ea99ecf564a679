package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// onServer are taken of a server without nodes, in this order: the later ones find what the earlier ones made.
var onServer = []single{
	{"creates", false, (*bench).creates},
	{"pod-creates", true, (*bench).podCreates},
	{"10000-pods", true, (*bench).tenThousandPods},
	{"100000-objects", true, (*bench).hundredThousandObjects},
}

// many measures a server that holds much.
func (b *bench) many(ctx context.Context) error {
	if !b.wantsAny(onServer) {
		return nil
	}
	server, err := b.start(ctx, "many", "wherryd", "server", "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.stop()
	client, err := server.client()
	if err != nil {
		return err
	}
	return b.take(ctx, client, onServer)
}

func (c *api) createPod(ctx context.Context, app string) error {
	p := hello("", app)
	p.GenerateName = app + "-"
	_, err := c.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{})
	return err
}

// fill makes n objects with some clients.
func fill(ctx context.Context, n int, create func(context.Context) error) error {
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for range n {
		group.Go(func() error { return create(grouped) })
	}
	return group.Wait()
}

// tenThousandPods measures the memory of a server with so many, and lists of them in each form.
func (b *bench) tenThousandPods(ctx context.Context, c *api) error {
	const all, lists = 10_000, 5
	err := fill(ctx, all, func(ctx context.Context) error { return c.createPod(ctx, "many") })
	if err != nil {
		return err
	}
	if err := idle(ctx); err != nil {
		return err
	}
	if err := b.rss("memory of a server with 10,000 pods", 150, c.process); err != nil {
		return err
	}
	for name, accept := range map[string]string{
		"JSON": "application/json", "protobuf": "application/vnd.kubernetes.protobuf", "a Table": "application/json;as=Table;v=v1;g=meta.k8s.io",
	} {
		for range lists {
			begun := time.Now()
			answer := c.CoreV1().RESTClient().Get().AbsPath("/api/v1/pods").Param("labelSelector", "app=many").SetHeader("Accept", accept).Do(ctx)
			bytes, err := answer.Raw()
			if err != nil {
				return err
			}
			b.table.add("a list of 10,000 pods as "+name, "ms", 0, milliseconds(time.Since(begun)))
			b.table.add("a list of 10,000 pods as "+name+", its size", "MB", 0, float64(len(bytes))/1e6)
		}
	}
	return nil
}

// hundredThousandObjects measures the memory of a server with so many more, and how long it takes to start with them.
func (b *bench) hundredThousandObjects(ctx context.Context, c *api) error {
	const all = 100_000
	err := fill(ctx, all, func(ctx context.Context) error {
		m := configMap("many-")
		m.Data["text"] = m.Data["text"][:100]
		_, err := c.CoreV1().ConfigMaps(namespace).Create(ctx, m, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	if err := idle(ctx); err != nil {
		return err
	}
	if err := b.rss("memory of a server with 100,000 objects", 0, c.process); err != nil {
		return err
	}
	c.stop()
	again, err := b.start(ctx, "many", "wherryd", "server", "--listen", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("starting it again: %w", err)
	}
	*c.process = *again // which many stops
	b.table.add("start with 100,000 objects to ready", "ms", 0, milliseconds(again.ready))
	return nil
}
