package probe

// Outcome is what a single probe came to.
type Outcome int

// The outcomes.
const (
	// Unknown: it could not be carried out, and says nothing.
	Unknown Outcome = iota
	Success
	// Warning counts as Success; Output says what is strange about it.
	Warning
	Failure
)

// Result is the outcome of a single probe and what there is to say about it.
type Result struct {
	Outcome Outcome
	Output  string
}

// Verdict is what the results of a probe amount to.
type Verdict int

// The verdicts.
const (
	Undecided Verdict = iota
	Passed
	Failed
)

// State counts the results of one probe in a row. The zero State, with its
// thresholds set, is Undecided.
type State struct {
	// SuccessThreshold and FailureThreshold are how many equal results in a
	// row make a verdict; less than 1 means 1.
	SuccessThreshold, FailureThreshold int32
	// Verdict is the present one.
	Verdict Verdict

	good bool
	run  int32
}

// Take counts a result and says whether the verdict changed. Unknown outcomes
// neither count nor interrupt a run.
func (s *State) Take(o Outcome) bool {
	if o == Unknown {
		return false
	}
	if good := o != Failure; good != s.good || s.run == 0 {
		s.good, s.run = good, 0
	}
	if s.run < max(s.SuccessThreshold, s.FailureThreshold, 1) {
		s.run++
	}
	need, to := s.FailureThreshold, Failed
	if s.good {
		need, to = s.SuccessThreshold, Passed
	}
	if s.run < max(need, 1) || s.Verdict == to {
		return false
	}
	s.Verdict = to
	return true
}
