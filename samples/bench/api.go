package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// configMap is one of about 1 KiB.
func configMap(prefix string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix}, Data: map[string]string{"text": strings.Repeat("x", 1024)}}
}

// creates measures how many ConfigMaps a second some clients create, each one after the other, and how long one takes.
func (b *bench) creates(ctx context.Context, c *api) error {
	return b.createsOf(ctx, "creates of 1 KiB", func(ctx context.Context) error {
		_, err := c.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("created-"), metav1.CreateOptions{})
		return err
	})
}

// podCreates does the same with pods, which no node takes.
func (b *bench) podCreates(ctx context.Context, c *api) error {
	return b.createsOf(ctx, "creates of pods", func(ctx context.Context) error { return c.createPod(ctx, "created") })
}

func (b *bench) createsOf(ctx context.Context, what string, create func(context.Context) error) error {
	const span = 2 * time.Second
	for _, clients := range []int{1, 16, 64, 256} {
		took := make([][]float64, clients)
		begun := time.Now()
		group, grouped := errgroup.WithContext(ctx)
		for i := range clients {
			group.Go(func() error {
				for time.Since(begun) < span {
					one := time.Now()
					if err := create(grouped); err != nil {
						return err
					}
					took[i] = append(took[i], milliseconds(time.Since(one)))
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		all := slices.Concat(took...)
		slices.Sort(all)
		b.table.add(fmt.Sprintf("%s by %d clients", what, clients), "a second", 0, float64(len(all))/time.Since(begun).Seconds())
		b.table.add(fmt.Sprintf("%s by %d clients, the median one", what, clients), "ms", 0, median(all))
		b.table.add(fmt.Sprintf("%s by %d clients, the slowest of a hundred", what, clients), "ms", 0, all[len(all)*99/100])
	}
	return nil
}

// watches measures from the POST of an object to its event at each of some watchers.
func (b *bench) watches(ctx context.Context, c *api) error {
	return b.watchesOf(ctx, c, 1, 1000)
}

func (b *bench) manyWatches(ctx context.Context, c *api) error { return b.watchesOf(ctx, c, 10_000) }

func (b *bench) watchesOf(ctx context.Context, c *api, counts ...int) error {
	for _, watchers := range counts {
		values, err := c.latencies(ctx, watchers)
		if err != nil {
			return err
		}
		b.table.add(fmt.Sprintf("POST to the event, %d watchers", watchers), "ms", 0, values...)
	}
	return nil
}

func (c *api) latencies(ctx context.Context, watchers int) ([]float64, error) {
	const objects = 10
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	maps := c.CoreV1().ConfigMaps(namespace)
	list, err := maps.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	var begun time.Time // of the object that is on its way; written while nobody waits for an event
	told := make(chan float64, watchers)
	group, grouped := errgroup.WithContext(ctx)
	for range watchers {
		w, err := maps.Watch(grouped, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			return nil, err
		}
		group.Go(func() error {
			defer w.Stop()
			for range objects {
				if _, ok := <-w.ResultChan(); !ok {
					return fmt.Errorf("a watch ended: %w", context.Cause(grouped))
				}
				told <- milliseconds(time.Since(begun))
			}
			return nil
		})
	}
	var values []float64
	group.Go(func() error {
		for range objects {
			begun = time.Now()
			if _, err := maps.Create(grouped, configMap("watched-"), metav1.CreateOptions{}); err != nil {
				return err
			}
			for range watchers {
				select {
				case <-grouped.Done():
					return context.Cause(grouped)
				case v := <-told:
					values = append(values, v)
				}
			}
		}
		return nil
	})
	err = group.Wait()
	return values, err
}
