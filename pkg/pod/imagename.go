package pod

import "fmt"

// ImageNameError says why a reference cannot be parsed; it is an ErrImageName.
type ImageNameError struct {
	Ref string
	Err error
}

func (e *ImageNameError) Error() string {
	return fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", e.Ref, e.Ref, e.Err)
}

// Unwrap makes it an ErrImageName.
func (e *ImageNameError) Unwrap() []error { return []error{ErrImageName, e.Err} }
