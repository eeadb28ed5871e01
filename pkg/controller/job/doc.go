// Package job runs Jobs: it makes the pods of a Job, counts how they end, and
// decides when the Job is over.
//
// Decide is pure. It must not know how objects are read or written; the loop
// beside it does that and decides nothing.
package job
