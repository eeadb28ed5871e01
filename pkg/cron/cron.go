// Package cron reads the schedules of CronJobs: five fields as in crontab(5),
// or one of @hourly and its like, in a time zone by its name in the IANA
// database. It must not know Jobs.
package cron

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // machines without zone files know the zones too

	library "github.com/netresearch/go-cron"
)

// Schedule tells when something is due.
type Schedule interface {
	// Next is the first moment after t, or the zero time if there is none.
	Next(t time.Time) time.Time
}

// What a time zone may be wrong in.
var (
	ErrNoZone    = errors.New("timeZone must be nil or non-empty string")
	ErrLocalZone = errors.New("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	ErrZone      = errors.New("unknown time zone")
)

// form is that of crontab(5), in which a day has to match only one of day of
// month and day of week where both are given.
const form = library.Minute | library.Hour | library.Dom | library.Month | library.Dow | library.DowOrDom | library.Descriptor

// Parse reads a schedule; it is meant in the given zone.
func Parse(schedule string, in *time.Location) (Schedule, error) {
	parser, err := library.TryNewParser(form)
	if err != nil {
		return nil, err
	}
	s, err := parser.Parse(schedule)
	if err != nil {
		return nil, err
	}
	return zoned{s, in}, nil
}

// zoned asks a schedule in its own zone.
type zoned struct {
	Schedule
	in *time.Location
}

// Next answers in the zone of t.
func (z zoned) Next(t time.Time) time.Time {
	next := z.Schedule.Next(t.In(z.in))
	if next.IsZero() {
		return next
	}
	return next.In(t.Location())
}

// part is what the database allows between slashes, digits and plus included,
// which old names have.
var part = regexp.MustCompile(`^[A-Za-z._0-9+][A-Za-z._0-9+-]{0,13}$`)

// Zone finds a time zone. Without a name it is that of the machine.
func Zone(name *string) (*time.Location, error) {
	if name == nil {
		return time.Local, nil //nolint:gosmopolitan // that is what is documented
	}
	if *name == "" {
		return nil, ErrNoZone
	}
	for p := range strings.SplitSeq(*name, "/") {
		if p == "." || p == ".." || !part.MatchString(p) {
			return nil, fmt.Errorf("%w %s", ErrZone, *name)
		}
	}
	in, err := time.LoadLocation(*name)
	if err != nil {
		err = fmt.Errorf("%w %s", ErrZone, *name)
	}
	if strings.EqualFold(*name, "local") {
		return nil, errors.Join(ErrLocalZone, err)
	}
	return in, err
}
