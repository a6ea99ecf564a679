package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// configMap is one of about 1 KiB.
func configMap(prefix string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix}, Data: map[string]string{"text": strings.Repeat("x", 1024)}}
}

// creates measures how many objects a second some clients create, each one after the other.
func (b *bench) creates(ctx context.Context, c *api) error {
	const span = 2 * time.Second
	for _, clients := range []int{1, 16, 64} {
		var made atomic.Int64
		begun := time.Now()
		group, grouped := errgroup.WithContext(ctx)
		for range clients {
			group.Go(func() error {
				for time.Since(begun) < span {
					if _, err := c.CoreV1().ConfigMaps(namespace).Create(grouped, configMap("created-"), metav1.CreateOptions{}); err != nil {
						return err
					}
					made.Add(1)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		b.table.add(fmt.Sprintf("creates of 1 KiB by %d clients", clients), "a second", 0, float64(made.Load())/time.Since(begun).Seconds())
	}
	return nil
}

// watches measures from the POST of an object to its event at each of some watchers.
func (b *bench) watches(ctx context.Context, c *api) error {
	for _, watchers := range []int{1, 1000} {
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
