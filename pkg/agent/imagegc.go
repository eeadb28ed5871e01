package agent

import (
	"context"
	"errors"
	"fmt"
	"math"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/eviction"
)

// allBytes asks for everything that is not needed.
const allBytes = math.MaxInt64

// collectImages removes unused images from time to time, where the disk is
// filled too much or they are too old.
func (a *Agent) collectImages(ctx context.Context) {
	failing := false
	for sleep(ctx, collectEvery) {
		err := a.collectImagesOnce(ctx)
		if err == nil || ctx.Err() != nil {
			failing = false
			continue
		}
		a.log.Warn("the images could not be collected", zap.Error(err))
		if failing {
			// The first failure may be that of a node that is just starting.
			a.nodeEvent(corev1.EventTypeWarning, "ImageGCFailed", err.Error())
		}
		failing = true
	}
}

func (a *Agent) collectImagesOnce(ctx context.Context) error {
	if a.o.ImagePolicy.MaxAge > 0 {
		images, err := a.o.ImageStore.StoredImages(ctx)
		if err != nil {
			return err
		}
		if _, err := a.removeImages(ctx, a.o.ImagePolicy.Old(images, a.clock())); err != nil {
			return err
		}
	}
	fs, err := a.o.Disk.ImageDisk(ctx)
	if err != nil {
		return err
	}
	if fs.Capacity == 0 {
		err := errNoCapacity
		a.nodeEvent(corev1.EventTypeWarning, "InvalidDiskCapacity", err.Error())
		return err
	}
	bytes, used := a.o.ImagePolicy.ToFree(fs)
	if bytes == 0 {
		// Even so, what is in use now is noted for later.
		_, err := a.o.ImageStore.StoredImages(ctx)
		return err
	}
	a.log.Info("the disk of the images is filled too much", zap.Int64("percent", used), zap.Int64("toFree", bytes))
	freed, err := a.freeImages(ctx, bytes)
	if err != nil {
		return err
	}
	if freed < bytes {
		text := eviction.NotEnough(used, fs.Capacity, freed)
		a.nodeEvent(corev1.EventTypeWarning, "FreeDiskSpaceFailed", text)
		return errors.New(text)
	}
	return nil
}

var errNoCapacity = errors.New("invalid capacity 0 on image filesystem")

// freeImages removes unused images until so many bytes are free, and returns
// how many are.
func (a *Agent) freeImages(ctx context.Context, bytes int64) (int64, error) {
	images, err := a.o.ImageStore.StoredImages(ctx)
	if err != nil {
		return 0, err
	}
	freed, err := a.removeImages(ctx, a.o.ImagePolicy.Collect(images, bytes, a.clock()))
	if err != nil {
		return freed, fmt.Errorf("wanted to free %d bytes, but freed %d bytes space with errors in image deletion: %w", bytes, freed, err)
	}
	return freed, nil
}

func (a *Agent) removeImages(ctx context.Context, images []eviction.StoredImage) (freed int64, err error) {
	var errs []error
	for _, i := range images {
		if err := a.o.ImageStore.RemoveImage(ctx, i.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		a.log.Info("removed an unused image", zap.String("image", i.Name), zap.Int64("bytes", i.Size))
		freed += i.Size
	}
	if freed > 0 {
		a.pulled()
	}
	return freed, errors.Join(errs...)
}
