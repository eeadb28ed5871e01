package cron

import (
	"errors"
	"testing"
	"time"

	"k8s.io/utils/ptr"
)

func TestNext(t *testing.T) {
	berlin, err := Zone(ptr.To("Europe/Berlin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		schedule string
		in       *time.Location
		from     string
		want     string
	}{
		{"* * * * *", time.UTC, "2026-11-26T16:00:00Z", "2026-11-26T16:01:00Z"},
		{"*/15 9-17 * * mon-fri", time.UTC, "2026-11-27T17:50:00Z", "2026-11-30T09:00:00Z"},
		{"@hourly", time.UTC, "2026-11-26T16:00:01Z", "2026-11-26T17:00:00Z"},
		{"@every 90s", time.UTC, "2026-11-26T16:00:00Z", "2026-11-26T16:01:30Z"},
		{"0 3 * * *", berlin, "2026-11-26T16:00:00Z", "2026-11-27T02:00:00Z"},
		{"0 3 * * *", berlin, "2026-07-26T16:00:00Z", "2026-07-27T01:00:00Z"},
		// Day of month and day of week: one of both is enough.
		{"0 0 13 * fri", time.UTC, "2026-11-26T16:00:00Z", "2026-11-27T00:00:00Z"},
		{"0 0 31 2 *", time.UTC, "2026-11-26T16:00:00Z", ""},
	} {
		s, err := Parse(c.schedule, c.in)
		if err != nil {
			t.Errorf("%s: %v", c.schedule, err)
			continue
		}
		from, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if next := s.Next(from); !next.IsZero() {
			got = next.Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s in %v after %s: %s, want %s", c.schedule, c.in, c.from, got, c.want)
		}
	}
}

func TestSchedulesThatAreWrong(t *testing.T) {
	for _, s := range []string{"", "* * * *", "* * * * * *", "61 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "x * * * *", "*/0 * * * *", "@never", "@every x", "TZ=0", "H * * * *"} {
		if got, err := Parse(s, time.UTC); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestZones(t *testing.T) {
	for name, want := range map[string]error{
		"Etc/UTC": nil, "Europe/Berlin": nil, "Etc/GMT+3": nil, "UTC": nil,
		"": ErrNoZone, "Local": ErrLocalZone, "LOCAL": ErrLocalZone,
		"../etc/passwd": ErrZone, "Europe//Berlin": ErrZone, "/Europe": ErrZone, "-a": ErrZone, "Europe/Nowhere": ErrZone,
		"Europe/ThisNameIsLongerThanAny": ErrZone,
	} {
		if _, err := Zone(&name); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
	if in, err := Zone(nil); in != time.Local || err != nil { //nolint:gosmopolitan // on purpose
		t.Errorf("no name: %v, %v", in, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"* * * * *", "@daily", "TZ=0", "5-3 * * * *", "0 0 29 2 *"} {
		f.Add(s)
	}
	from := time.Date(2026, 11, 26, 16, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text, time.UTC)
		if err != nil {
			return
		}
		if next := s.Next(from); !next.IsZero() && !next.After(from) {
			t.Errorf("%q: next is %v", text, next)
		}
	})
}
