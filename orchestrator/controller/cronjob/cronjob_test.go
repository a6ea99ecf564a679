package cronjob_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/cronjob"
	"wherry/orchestrator/state"
)

func cluster(s *state.State, e controller.Events) []controller.Controller {
	return []controller.Controller{cronjob.New(s, e)}
}

// tick is a CronJob with more lines of its spec. Bubbles begin at midnight UTC of 2000-01-01, a Saturday.
func tick(c *controllertest.Cluster, schedule string, spec ...string) {
	c.T.Helper()
	controllertest.Apply(c, fmt.Sprintf(`
metadata: {namespace: default, name: tick}
spec:
  schedule: "%s"
  %s
  jobTemplate: {metadata: {labels: {of: tick}}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}
`, schedule, strings.Join(spec, "\n  ")), &batchv1.CronJob{})
}

// jobs is when the Jobs that are not being deleted were due, in the order of their names.
func jobs(c *controllertest.Cluster) string {
	var out []string
	for _, j := range state.List[*batchv1.Job](c.State, state.Selector{Namespace: "default"}) {
		if j.DeletionTimestamp == nil {
			at, _ := time.Parse(time.RFC3339, j.Annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"])
			out = append(out, at.UTC().Format("2T15:04"))
		}
	}
	return strings.Join(out, " ")
}

func active(c *controllertest.Cluster) int {
	cj, _ := state.Get[*batchv1.CronJob](c.State, "default", "tick")
	return len(cj.Status.Active)
}

// finish ends all Jobs that run.
func finish(c *controllertest.Cluster, how batchv1.JobConditionType) {
	c.T.Helper()
	now := metav1.Now()
	for _, j := range state.List[*batchv1.Job](c.State, state.Selector{Namespace: "default"}) {
		if len(j.Status.Conditions) > 0 {
			continue
		}
		_, err := state.UpdateStatus(c.T.Context(), c.State, "default", j.Name, func(j *batchv1.Job) error {
			met := batchv1.JobSuccessCriteriaMet
			if how == batchv1.JobFailed {
				met = batchv1.JobFailureTarget
			} else {
				j.Status.CompletionTime, j.Status.Succeeded = &now, 1
			}
			j.Status.StartTime = &j.CreationTimestamp
			for _, t := range []batchv1.JobConditionType{met, how} {
				j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now})
			}
			return nil
		})
		if err != nil {
			c.T.Fatal(err)
		}
	}
}

func TestSchedules(t *testing.T) {
	for _, test := range []struct {
		schedule string
		spec     []string
		after    time.Duration
		want     string
	}{
		{"*/5 * * * *", nil, 11 * time.Minute, "1T00:05 1T00:10"},
		{"@hourly", nil, 3 * time.Hour, "1T01:00 1T02:00 1T03:00"},
		{"30 6 * * 1", nil, 72 * time.Hour, "3T06:30"}, // a Monday
		{"0 9 * * *", []string{"timeZone: Asia/Tokyo"}, 25 * time.Hour, "2T00:00"},
		{"0 0 31 2 *", nil, 1000 * time.Hour, ""},
		{"*/5 * * * *", []string{"suspend: true"}, time.Hour, ""},
		{"*/10 * * * *", []string{"concurrencyPolicy: Forbid"}, time.Hour, "1T00:10"},
		{"*/10 * * * *", []string{"concurrencyPolicy: Replace"}, time.Hour, "1T01:00"},
	} {
		t.Run(test.schedule+strings.Join(test.spec, ""), func(t *testing.T) {
			controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
				tick(c, test.schedule, test.spec...)
				c.Settle(test.after + time.Second)
				if got := jobs(c); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

func TestJobsCarryTheirTemplate(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		tick(c, "0 1 * * *")
		c.Settle(time.Hour + time.Second)
		j := state.List[*batchv1.Job](c.State, state.Selector{Namespace: "default"})[0]
		ref := metav1.GetControllerOf(j)
		if j.Name != "tick-15778140" && !strings.HasPrefix(j.Name, "tick-") || j.Labels["of"] != "tick" || ref == nil || ref.Kind != "CronJob" {
			t.Errorf("the job is %s, %v, %v", j.Name, j.Labels, ref)
		}
		if n := active(c); n != 1 {
			t.Errorf("%d are active", n)
		}
		finish(c, batchv1.JobComplete)
		c.Settle(time.Second)
		cj, _ := state.Get[*batchv1.CronJob](c.State, "default", "tick")
		if len(cj.Status.Active) != 0 || cj.Status.LastSuccessfulTime == nil || cj.Status.LastScheduleTime.UTC().Hour() != 1 {
			t.Errorf("the status is %+v", cj.Status)
		}
	})
}

func TestHistory(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		tick(c, "0 * * * *", "successfulJobsHistoryLimit: 2", "failedJobsHistoryLimit: 1")
		for i := range 8 {
			c.Settle(time.Hour)
			finish(c, []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed}[i%2])
		}
		c.Settle(time.Second)
		if got, want := jobs(c), "1T05:00 1T07:00 1T08:00"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// What was missed while nobody looked is made up for once, if the deadline allows it.
func TestMissedTimes(t *testing.T) {
	for _, test := range []struct {
		spec, want, told string
	}{
		{"", "6T23:00 7T00:00", "TooManyMissedTimes"},
		{"startingDeadlineSeconds: 600", "7T00:00", ""},
	} {
		controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
			tick(c, "0 * * * *", "suspend: true", test.spec)
			c.Settle(143*time.Hour + 30*time.Minute)
			controllertest.Change(c, "tick", func(cj *batchv1.CronJob) { cj.Spec.Suspend = new(bool) })
			c.Settle(31 * time.Minute)
			if got := jobs(c); got != test.want {
				t.Errorf("%s: got %q, want %q", test.spec, got, test.want)
			}
			told := slices.ContainsFunc(c.Told(), func(e string) bool { return strings.Contains(e, "TooManyMissedTimes") })
			if told != (test.told != "") {
				t.Errorf("%s: told %v", test.spec, c.Told())
			}
		})
	}
}
